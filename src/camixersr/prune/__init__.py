"""Pruning: from a trained network to a smaller one that computes nearly the same.

narrow (how a network is made narrower) -> search (how narrow, and of what) -> run (photographs in, a model
out). The result is an ordinary model, which every command loads and `camixersr train` trains further.
"""
