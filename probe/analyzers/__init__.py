"""The measurements, one per file, each with its formula and its source.

What does not belong here: reading tensors from a model (capture), finding stages in curves (stages), and what a
calibration decides from the numbers (calibration).
"""
