"""The target `local`: supervised replicas on loopback behind HAProxy."""
