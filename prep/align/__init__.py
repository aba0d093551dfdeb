"""Stage `align`: faces onto level eyes.

In: manifest and image frames. Out: data/aligned/RELEASE, Parquet shards of crops with landmarks and transforms.
"""
