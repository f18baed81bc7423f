"""model: the checks of the candidate against its rivals, on slices, spoiled, in use, and what it costs."""
