"""The steps of a launch, a module per concern; each function gives compiled segments.

Functions whose result depends on few values are remembered: the segments of standard containers are
compiled once per process (in the zygote, before its workers are forked).
"""
