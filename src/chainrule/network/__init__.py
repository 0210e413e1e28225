"""What a network consists of: its parameters in one vector, its output, its gradient.

Begin with `network`. `backpropagation` computes the gradient of a batch, `predictor` outputs, for
one row or many, quickly. `gradcheck` compares the gradient with central differences, `checking`
does so for single functions.
"""
