"""The registry of the libraries' own fits: every file is one public call."""
