"""One loop that trains a head, and what stands around it."""
