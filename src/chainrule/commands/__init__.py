"""The commands, and what they do; :mod:`chainrule.cli` puts them together."""
