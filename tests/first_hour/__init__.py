"""Files as users have them in their first half hour, and what must come out."""
