"""The studio: pages, an API and a database around the scorer."""
