"""The registry of claims about one data set: every file is one theorem."""

GATE = "same_model"
"""The claim that must hold before anything is fitted."""
