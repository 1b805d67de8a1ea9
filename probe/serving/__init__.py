"""An OpenAI-compatible server around a model under a plan, from the parts of `transformers serve`.

Requests are checked and prepared here, and answers are formatted by transformers. What does not belong here: what a
plan does (halfv_core), and options of the command line.
"""
