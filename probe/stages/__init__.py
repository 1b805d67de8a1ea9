"""Curves to stages, without a model: where aggregation and saturation begin, from arrays or CSV files.

Not here: how curves are measured (analyzers), and decisions that need trials (calibration).
"""
