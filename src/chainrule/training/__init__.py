"""From a batch to an epoch to a fit.

Begin with `train`, then `descent`, which holds what a run of steps needs, and `kernel`, whose loop
takes the steps in phases that worker threads share; what it takes is in `arguments`. `loop` goes
from epoch to epoch, `state` is all that steps change, `divergence` finds where numbers stop being
finite. `plan` cuts a step into parts, `samples` draws the order of the rows, `augmentation` changes
them at random before each step, as `distortions` do with images. `lr_finder` looks for a learning
rate, `ahead` compiles in a second process.
"""
