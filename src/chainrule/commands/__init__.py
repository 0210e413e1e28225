"""The commands, and what they do; :mod:`chainrule.commands.cli` puts them together."""
