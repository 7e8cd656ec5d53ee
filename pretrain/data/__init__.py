"""What models learn from: labelled markets, splits in time and by market, windows and stretches, teachers, scaling."""
