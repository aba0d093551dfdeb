"""Data sets of one's own, read as section `releases` of params.yaml describes them: no module for each."""
