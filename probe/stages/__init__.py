"""From curves to stages, without a model: where aggregation and saturation start, from arrays or CSV files.

What does not belong here: measuring the curves (analyzers), and decisions that need trials on a model (calibration).
"""
