"""Plumbing: scratch, workers, progress, command line.

It never changes what a stage writes, and is the one folder that no hash of code covers.
"""
