"""Network, loss, training loop, curves, evaluation, ONNX export."""
