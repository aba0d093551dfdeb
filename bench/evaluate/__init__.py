"""Figures, intervals and tests.

In: predictions alone. Out: what the tables and the report show.
"""
