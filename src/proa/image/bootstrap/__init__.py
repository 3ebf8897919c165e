"""Base images from a distribution's own signed packages; no registry involved."""
