"""Wire formats of Docker that the engine does not speak itself, one module per resource."""
