"""The error of bars that cannot be used."""


class BarsError(ValueError):
    """Bars that cannot be used; the message names the row, the column, and what is allowed."""
