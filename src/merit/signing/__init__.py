"""Signatures of packages: made and verified."""
