"""``proa network``: one module a verb."""
