"""Samplers of one law, by how they reach it: every `x.py` here defines one."""
