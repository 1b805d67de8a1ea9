"""Helpers that every other room may use: journal, result cache, progress, statistics, resampling, stopwatch.

What does not belong here: anything that knows about models, samples or plans.
"""
