"""Trials of many plans on the same prompts: the full model's answer, and how a run under a plan differs from it.

Also proofs, on one model, that a run under a plan gives what the plan means.

What does not belong here: which plans to try (calibration), and reference answers or grades (evaluation).
"""
