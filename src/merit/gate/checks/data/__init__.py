"""gate.data: checks of the data's integrity, and of its difference from the champion's data."""
