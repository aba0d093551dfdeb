"""Rendered motion to pretrain on: people and clips planned from a seed, flow images without a rendered frame.

In: an entry of section `corpora` of params.yaml. Out: data/corpus/NAME, by the stage `corpus`.
"""
