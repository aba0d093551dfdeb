"""Search for settings of a model within a budget that is the same for every model: `fdpbench tune`.

In: a task's data and a model's recipe. Out: a folder for each search, with the journal of its trials, a table of them,
the best settings, and a record of the data, folds and budget. No test subject is read.
"""
