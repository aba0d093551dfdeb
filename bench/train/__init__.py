"""Stage `train`: each fold of a run.

In: data/task/TASK and a run's settings. Out: predictions, curves, checkpoints and provenance in artifacts/.
"""
