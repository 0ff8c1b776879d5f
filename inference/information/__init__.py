"""Fisher information: its estimators, its inversion, the bound it gives."""
