"""One QEMU process: its machine as data (``machine``), its arguments (``argv``), its life
(``process``) and its monitor (``qmp``).

::

    ours, theirs = socket.socketpair()
    command = build_command(Machine(name="web", ..., qmp=Inherited(theirs.fileno())))
    with spawn(command, Confinement(uid=...)) as qemu:
        monitor = Qmp(ours)
        ...
        qemu.pidfd                 # readable once QEMU is gone
"""
