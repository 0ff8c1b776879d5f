"""What a program says: densities, gradients, Jacobians and draws, read off either language."""
