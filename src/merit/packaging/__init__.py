"""The stage package: one ONNX graph from raw columns to prediction, with signature, parity check and manifest."""
