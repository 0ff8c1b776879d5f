"""From files, frames and arrays to a validated `Dataset`."""
