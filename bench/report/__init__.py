"""Tables, plots, gallery and HTML report.

In: figures. Out: results/, by the stages `tables`, `gallery` and `report`.
"""
