"""What probes say about one model: `analyze` runs them on samples, `Analysis` is the result as a file.

What does not belong here: what a single probe measures (analyzers), and drawing (report).
"""
