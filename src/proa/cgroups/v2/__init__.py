"""Cgroup v2: one hierarchy, a module for each controller."""
