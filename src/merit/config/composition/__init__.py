"""Composition: which files of conf/ are chosen, and how they are merged."""
