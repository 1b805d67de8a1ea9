"""From a model and a prompt to tensors: hidden states by nnsight, attention, runs that begin in the middle, regions.

Not here: what the tensors mean (analyzers), data sets (data), and anything that changes what the model computes.
"""
