"""Graded answers: a plan, its parts and the full model on the same questions, against references.

Not here: how a plan is found (calibration).
"""
