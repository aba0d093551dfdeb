"""Annotation sheets, whoever wrote them.

In: a sheet (.xlsx, .xls, .csv). Out: rows with the field's column names. Part of the stage `index`.
"""
