"""From many starts to one optimum."""
