"""The guest's first process: put this package on the path, then be the agent."""

import sys

sys.path.insert(0, "/proa")

from proa.guest.agent import main

main()
