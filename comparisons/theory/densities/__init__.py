"""Density estimators by their access to the likelihood: every `x.py` here defines one."""
