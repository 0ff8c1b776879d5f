"""Many data sets at once, in compiled batches."""
