"""What shells and manuals get: completion scripts and manual pages, from the commands' tables."""
