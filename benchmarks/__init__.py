"""Measurements: each module prints a table, and the committed ones stand in `results`."""
