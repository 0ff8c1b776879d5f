"""Samplers: every `x.py` here draws from a target by one algorithm."""
