"""What a network consists of: its parameters in one vector, its output, its gradient.

Begin with `network`. `predictor` computes outputs quickly, for one row or many; `gradcheck`
compares the gradient with central differences, `checking` does so for single functions.
"""
