"""What runs inside the VM: its first process, which runs one container with ``proa.runtime``.

Never imported by the layers above; :mod:`proa.vm.initramfs` puts it into the guest as files.
"""
