"""What a network consists of: its parameters in one vector, its output, its gradient.

Begin with `network`. `predictor` computes outputs quickly, for one row or many; `checking` compares
derivatives that were written by hand with central differences.
"""
