"""The rendered release, corpora to pretrain on, and invented clips in the form of licensed releases.

In: sections `synth` and `corpora` of params.yaml. Out: data/raw/synthetic, by the stage `synthesize`, and
data/corpus, by the stage `corpus`.
"""
