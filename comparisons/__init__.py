"""What must agree, and why: each entry of this folder compares the fits of one case."""
