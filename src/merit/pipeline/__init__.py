"""Runs the complete path, from compose to register."""
