"""Control groups: limits, accounting, freezing and killing of containers, on v1, hybrid and v2."""
