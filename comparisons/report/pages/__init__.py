"""Pages: a case, a study, the theory, the index, and the files beside them."""
