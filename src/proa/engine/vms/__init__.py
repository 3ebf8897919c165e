"""Full virtual machines: disk images of any system, each supervised by a process of its own.

::

    <root>/vms/<id>/             disk<N>.qcow2, efivars.fd, console.log; locked by the supervisor
    <run>/v/<id>                 the supervisor's socket

The record in ``proa.db`` is written last when a machine is made and removed first when it goes. A
machine that is recorded as running while nobody holds its directory's lock has lost its supervisor,
and QEMU with it; whoever looks next records that.
"""
