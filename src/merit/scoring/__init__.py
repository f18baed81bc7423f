"""Scoring: run an ONNX graph over columns, and load a verified package."""
