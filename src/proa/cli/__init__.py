"""The command line: words in, tables out.

``main.run`` takes the words of one command and answers with an exit code; everything that a command
can do is done by :mod:`proa.engine`. Only the module of the named command is imported.
"""
