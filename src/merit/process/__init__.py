"""Processes: the lock on the project folder, and children that end with their parent."""
