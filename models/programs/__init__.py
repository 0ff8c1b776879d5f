"""Densities, gradients, Jacobians and draws, read off a program of either language."""
