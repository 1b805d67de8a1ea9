"""What every room above may use: journal, result cache, progress, statistics, resampling.

Not here: anything that knows models, samples or plans.
"""
