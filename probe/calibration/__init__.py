"""From a model and samples to a profile: the steps of a calibration, the runner, and the decisions between the steps.

Not here: how one quantity is measured (analyzers, capture, trials), where stages begin on a curve (stages), and how
results are drawn (report).
"""
