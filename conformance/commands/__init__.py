"""This package is the commands, each a function of what was typed, which gives the exit code (None is 0)."""
