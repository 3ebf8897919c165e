"""The engine's resolver: names of containers, and everything else from the host's servers.

It runs in the supervisor of the container that asks, on sockets in that container's namespace.
Names come from the engine's records at every question, so that a container that has left is not
found any more; other questions go out from the host's namespace. Everything but the sockets
(:mod:`~proa.network.dns.server`) is loaded by the first question, dnslib included.
"""
