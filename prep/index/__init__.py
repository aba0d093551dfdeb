"""Stage `index`: what a release holds.

In: annotation sheet and folders of a release. Out: data/manifest/RELEASE, a row for each clip, and every row left out
with a reason.
"""
