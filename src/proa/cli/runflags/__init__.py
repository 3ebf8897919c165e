"""The flags of ``run`` and ``create``: their table, and what they make of the user's words.

``table`` declares the flags, ``values``, ``mounts`` and ``files`` read the ones with a grammar of
their own, ``config`` puts everything together as a :class:`proa.engine.config.ContainerConfig`.
What is read here is what Docker's client reads; whether the machine can do it is the engine's
business.
"""
