"""`merit release`: builds a version's container image, pushes it with an SBOM, and records it in Git."""
