"""What looks at results and forward returns: performance, worth of features, slippage of order books.

Some of it sees the future of a bar. Nothing else in the package imports it.
"""
