"""Compose conf/ into params.yaml, the lock that every stage reads, and check it against the schema."""
