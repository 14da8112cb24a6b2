"""Sentence scores on real data, by every method, without and with the response labels: one command, resumable."""
