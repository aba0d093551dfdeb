"""Metrics, intervals and tests.

In: predictions alone. Out: artifacts/evaluation, which tables, gallery and report show, by the stage `evaluate`.
"""
