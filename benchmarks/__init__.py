"""Scripts that verify, then measure. Not part of the wheel."""
