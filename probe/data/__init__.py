"""Anybody's data to samples: readers of formats, which column means what, images, and which samples are drawn.

Not here: models and their inputs.
"""
