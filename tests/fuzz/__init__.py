"""Fuzzers: seeded, bounded in the suite, an hour long by `make fuzz`."""
