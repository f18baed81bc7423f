"""features: what is fitted on training rows, as one ONNX graph; arrays out."""
