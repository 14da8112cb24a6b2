"""Experts trained, weighed and chosen by held-out response labels."""
