"""ingest and validate: where rows come from, what they must look like, how they are split in time."""
