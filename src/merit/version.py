"""The version of merit; `merit.__version__` is the same."""

__version__ = "0.1.0"
