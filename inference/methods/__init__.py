"""The registry of exact solvers: every file is one method."""
