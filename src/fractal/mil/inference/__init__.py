"""Trained heads and their aggregations in numpy: what scoring needs where there is no torch."""
