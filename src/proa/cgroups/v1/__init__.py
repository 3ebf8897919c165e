"""Cgroup v1: a hierarchy for each controller, a module for each."""
