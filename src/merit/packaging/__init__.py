"""package: one graph from raw columns to probability, its signature, parity and manifest."""
