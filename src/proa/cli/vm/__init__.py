"""``proa vm``: full virtual machines, and kernels for guests."""
