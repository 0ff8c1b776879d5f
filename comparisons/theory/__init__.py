"""Claims of the theory, each shown by running it: every `x.py` here defines `show(rng, effort)`."""
