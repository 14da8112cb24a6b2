"""What a user can take from the answer to each question: written after reading its table."""

CONCLUSIONS: dict[str, str] = {}
