"""Does a tuned encoder help: the default, the tuned encoder, both, and full supervision, on real sets."""
