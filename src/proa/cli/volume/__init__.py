"""``proa volume``: one module a verb, each with its ``COMMAND`` and ``execute``."""
