"""Networks of containers: links, addresses, firewall, published ports, names, bandwidth.

The package is told plain data (:mod:`proa.network.model`) and works on the kernel; which containers
and networks exist is the engine's.
"""
