"""Programs that were not written for this suite: a PyMC model, a NumPyro function, or both."""
