"""Data to learn on: made, corrupted, fetched."""
