"""Pictures of aligned clips for this machine alone.

In: what align, flow and dynamic wrote. Out: preview-do-not-share/RELEASE. No stage: the command `fdpbench preview`.
"""
