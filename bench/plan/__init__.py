"""What is to be done: params.yaml checked as a whole, each run resolved.

In: params.yaml. Out: settings of every run, and every problem at once.
"""
