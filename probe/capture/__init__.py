"""From a model and a prompt to tensors: hidden states, attention, runs from a later layer on, visual tokens' regions.

What does not belong here: the meaning of the tensors (analyzers), data sets (data), and anything that changes what the
model computes (halfv_core).
"""
