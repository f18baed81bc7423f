"""Sweeps: many trials of one configuration, what became of each, and the way from the best to a pull request."""
