"""Write ``docs/reference/compare-report.schema.json`` from ``proa.compare.model``.

Run it after a change of the model: ``python tools/write_compare_schema.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

from proa.compare.model import schema

PATH = Path(__file__).parent.parent / "docs" / "reference" / "compare-report.schema.json"


def main() -> None:
    """Write the file."""
    PATH.write_text(json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
