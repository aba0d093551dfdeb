"""Stage `task`: all that training reads.

In: manifest, flow and dynamic images of a task's releases. Out: data/task/TASK, labels and inputs of each clip, a row
group for each subject.
"""
