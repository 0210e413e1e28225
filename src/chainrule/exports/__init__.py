"""Models as programs of their own: ONNX, C, JavaScript, NumPy alone."""
