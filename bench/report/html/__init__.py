"""The report: a folder of pages, built from predictions, that opens from disk without a network.

`facts` computes what the pages show, `charts` draws it, `pictures` writes images of faces where they may be
published, `data` tells of releases and tasks, `build` fills the templates.
"""
