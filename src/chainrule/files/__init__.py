"""Model files: one file without pickle, read with nothing of it run; and states to resume from."""
