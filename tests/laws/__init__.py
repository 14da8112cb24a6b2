"""Laws that every registered component obeys."""
