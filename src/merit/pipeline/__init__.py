"""pipeline: the whole path in one go."""
