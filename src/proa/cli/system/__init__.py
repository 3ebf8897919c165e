"""``proa system`` and the commands that belong to no noun."""
