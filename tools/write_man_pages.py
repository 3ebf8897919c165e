"""Write the manual pages.

python tools/write_man_pages.py DIRECTORY     e.g. /usr/local/share/man/man1
"""

from __future__ import annotations

import sys
from pathlib import Path

from proa.cli.main import GLOBAL_FLAGS
from proa.cli.shells.manual import pages

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages(GLOBAL_FLAGS):
        (directory / name).write_text(text)
