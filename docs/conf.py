"""Sphinx configuration: Markdown pages, one theme, no generated API (the code is the reference)."""

project = "Proa"
author = "The Proa authors"
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns: list[str] = []
suppress_warnings = ["myst.xref_missing"]
myst_heading_anchors = 3
