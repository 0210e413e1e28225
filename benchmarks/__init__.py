"""Measurements beside other libraries; `python -m benchmarks.run` does all of them."""
