"""Content keys and checksummed entries on disk."""
