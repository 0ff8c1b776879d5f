"""From a command to its results: settings, plan, executor, progress, exit codes."""
