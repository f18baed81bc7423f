"""The checks of the gate: one module per concern, of the data and of the model."""
