"""Figures, one file for each family; a function returns None where there is nothing to draw."""
