"""Metrics, shared counters and traces of the endpoint."""
