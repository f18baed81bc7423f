"""Networks, and how the one that the lock names is built."""
