"""Documentation of configuration: what each key means, JSON Schemas for editors, and `merit explain`."""
