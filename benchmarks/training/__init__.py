"""How fast a head is trained and read, beside others and beside bare products."""
