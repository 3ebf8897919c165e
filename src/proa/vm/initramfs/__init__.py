"""The guest's first filesystem: an archive made here from the running Python and ``proa.guest``."""
