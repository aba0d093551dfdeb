"""The rendered release, and invented clips in the form of licensed ones.

In: section `synth` of params.yaml. Out: data/raw/synthetic, by the stage `synthesize`.
"""
