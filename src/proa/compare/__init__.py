"""What isolation costs on this machine, measured: ``proa compare``, and the same from Python.

::

    from proa.compare import compare
    report = compare(targets=("host", "process", "vm"), quick=True, out="comparison")
"""

from __future__ import annotations

from proa.compare.model import Report
from proa.compare.session import Options, compare

__all__ = ["Options", "Report", "compare"]
