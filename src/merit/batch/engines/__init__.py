"""Engines of batches: each file is one, and decides where chunks are scored."""
