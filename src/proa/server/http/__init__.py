"""HTTP/1.1 on one connection: h11 for the grammar, own code for limits, streams and hijacking."""
