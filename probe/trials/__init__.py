"""Many plans on one prompt: the full model's answer, and how a run under a plan differs from it.

Not here: which plans are worth trying (calibration), and references or grades (evaluation).
"""
