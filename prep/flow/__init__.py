"""Stage `flow`: onset-to-apex optical flow.

In: manifest and aligned frames, or flow images. Out: data/flow/RELEASE, u, v and strain for each clip.
"""
