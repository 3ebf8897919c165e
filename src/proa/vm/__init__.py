"""VM isolation and full virtual machines on QEMU.

What is where: :mod:`proa.vm.qemu` describes, starts and talks to one QEMU process; :mod:`..accel`
decides between KVM and TCG by trying; :mod:`..kernel` finds and installs guest kernels.
"""
