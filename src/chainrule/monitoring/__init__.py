"""What happens between epochs, and what is shown of it.

Begin with `callbacks`: early stopping, a progress bar, and how to write one. `checkpoints` keeps
parameters in files, `loggers` writes histories for other programs, `displays` draws curves.
"""
