"""Every error the suite raises on purpose: what happened, where, what was expected, what to do."""


class ConcordError(Exception):
    """Base of every error raised on purpose; its message is a sentence for the user."""


class DataError(ConcordError, ValueError):
    """The data cannot be used: names the file, row and column, and what would be accepted."""


class ConfigError(ConcordError, ValueError):
    """A setting cannot be used: names its path and the nearest valid value."""


class ModelError(ConcordError):
    """A model breaks its contract: names the check, the site and the first offending point."""


class FitError(ConcordError):
    """A fit could not produce an estimate at all; lesser troubles are an estimate's problems."""


class StoreError(ConcordError):
    """The store cannot read or write: names the path and the free space."""
