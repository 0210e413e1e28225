"""Models as programs of their own: ONNX, C, JavaScript, NumPy alone.

Begin with `exporting`, which writes and checks. `steps` is what a model computes, as a list of
plain steps; `estimator` and `columns` make these; `graph`, `c`, `js` and `python` write them in
their language. `skl2onnx` registers converters for that library.
"""
