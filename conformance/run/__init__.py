"""This package is how subjects are decided in numbers: as pytest items, over processes that may die."""
