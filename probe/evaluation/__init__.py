"""Graded answers: a plan, its parts and the full model on the same questions, against reference answers.

What does not belong here: choosing a plan (calibration), and speed or memory (bench).
"""
