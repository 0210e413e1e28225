"""The commands, and what they do.

Begin with `cli`, which puts them together; `digits`, `train`, `tables`, `doctor` and `models` hold
a command each, or a few. `preparing` and `jobs` lead from a table to a trained model, `predicting`
applies a stored model, `judging` judges one with `evaluation`, `baselines` and `importances`.
`asking` leads from a table to the question that `tune` searches.
"""
