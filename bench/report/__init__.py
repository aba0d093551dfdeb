"""Tables, plots, gallery and HTML report.

In: artifacts/evaluation. Out: results/, by the stages `tables`, `gallery` and `report`.
"""
