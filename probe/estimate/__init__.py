"""What a calibration will need, by arithmetic and without weights: memory, passes, and how to share out GPUs.

What does not belong here: anything that runs a model (bench), and what a plan saves (halfv_core/cost.py).
"""
