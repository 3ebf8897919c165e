"""``proa machine``: a light Linux machine with the whole engine inside."""
