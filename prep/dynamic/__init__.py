"""Stage `dynamic`: frames sampled, dynamic images by rank pooling.

In: aligned frames of a task's releases. Out: data/dynamic/TASK. `rank_pooling` and `rank_pooling_exact` are the
mathematics alone.
"""
