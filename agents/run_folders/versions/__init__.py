"""Versions of a model in one folder, and the pointer that says which of them is used."""
