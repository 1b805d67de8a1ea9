"""From any data set to samples: readers for file formats, the meaning of columns, images, and drawing samples.

What does not belong here: models and their inputs, and anything that is measured on a sample.
"""
