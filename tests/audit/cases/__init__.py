"""Graphs that break a rule, and near-identical ones that do not: the cases of test_rules.py."""
