"""Arrow and Parquet bodies, decoded in a process of their own within bounds."""
