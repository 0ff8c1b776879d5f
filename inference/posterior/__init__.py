"""From draws to an estimate: diagnostics, labels, signs, evidence."""
