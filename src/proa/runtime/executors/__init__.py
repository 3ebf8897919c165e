"""Executors: two ways to let a child work through a plan, equal in all that can be seen.

``native`` runs a machine-code loop in a child that shares the parent's memory; ``portable`` runs
the same loop in Python in a copied one. Both take the plan from the same arena.
"""
