"""Guest kernels: finding one (``store``), getting Debian's (``install``), unpacking (``vmlinux``).

::

    kernel = get_kernel(root, "")              # newest installed one, else the host's own
    kernel.vmlinux or kernel.image             # what to boot on microvm, or elsewhere
    kernel.modules                             # its /lib/modules/<release>, "" if there is none
"""

from proa.vm.kernel.store import Kernel, find_kernel, get_kernel, list_kernels, remove_kernel

__all__ = ["Kernel", "find_kernel", "get_kernel", "list_kernels", "remove_kernel"]
