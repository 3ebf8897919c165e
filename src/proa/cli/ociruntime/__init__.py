"""``proa-runtime``: the OCI runtime interface in runc's words, for containerd, Podman and dockerd.

The work is done by :mod:`proa.runtime.bundle`; here are its words, documents and exit codes.
"""
