"""The registry of claims about one data set: every file is one theorem."""
