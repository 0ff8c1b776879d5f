"""Statistics over replicated data sets that claims, studies and theory share."""
