"""The features that ship, a family a file."""
