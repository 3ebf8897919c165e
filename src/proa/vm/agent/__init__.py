"""The channel between the engine and the agent in a guest; both ends import this package.

``protocol`` says what a frame is, ``mux`` moves frames, ``streams`` carries bytes of processes in
them, ``messages`` is what is asked and answered, ``client`` is the engine's end.
"""
