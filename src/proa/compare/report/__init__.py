"""A report for people: a table on the terminal, ``report.md`` and ``report.html``."""
