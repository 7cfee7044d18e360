"""The classic network as an ONNX graph, which runtimes and other programs compute."""
