"""The registry of studies of repeated data sets: every file is one theorem."""
