"""Predictions of others: CSV files and logs of released code.

In: a file. Out: the same figures and intervals as for ours, by `fdpbench score` and `fdpbench compare`.
"""
