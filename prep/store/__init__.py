"""Files on disk: schemas, Parquet with checksums, images, JSON and YAML documents, and where each file lies.

In and out: tables and arrays. No stage of its own: all read and write through it.
"""
