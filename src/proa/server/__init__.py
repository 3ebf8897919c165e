"""``proa serve``: the Docker Engine API over the engine's library.

::

    app          the server: listeners, the loop, the worker threads, stopping
    listening    sockets: unix, TCP with TLS client certificates, handed over by systemd
    loop         connections between requests, one epoll for all
    http/        one request on one connection: h11, limits, bodies, hijacking
    routing      method and path to handler, version negotiation
    call         what a handler gets
    responses    what a handler returns
    errors       one table from kinds of errors to HTTP status
    routes/      the handlers, one module per resource
    encode/      wire formats of Docker that the engine does not speak itself

The server is a thin user of :mod:`proa.engine`: it holds no state that a restart would lose, and
``proa`` beside it works on the same containers.
"""
