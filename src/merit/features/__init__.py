"""The stage features: preprocessing fitted on training rows, as one ONNX graph, and the arrays that it computes."""
