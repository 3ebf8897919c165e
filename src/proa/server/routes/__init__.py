"""The handlers, one module per resource; see :mod:`proa.server.routing` for how to add one."""
