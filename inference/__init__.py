"""Ways to fit a model: each entry of this folder is a method that returns an `Estimate`."""
