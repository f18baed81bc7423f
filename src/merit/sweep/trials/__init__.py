"""Trials: the processes that train, where they run, and their isolation from the test rows."""
