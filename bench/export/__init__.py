"""A task's clips for other people's code: flow images, frames, dynamic images and lists, in the layouts that it reads.

In: data/task/TASK. Out: a new folder, by `fdpbench export`; our own readers read it back (docs/export.md).
"""
