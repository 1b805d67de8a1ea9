"""From a model and samples to a profile: the steps of a calibration, what runs them, and the decisions between them.

Not here: how one quantity is measured (analyzers, capture, trials), where stages begin on a curve (stages), and how
any of it is drawn (report).
"""
