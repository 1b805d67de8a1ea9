"""Engines of others that run a model under a plan, one folder each; every engine is optional.

A folder imports its engine only inside functions, so that halfv_core works without it. What does not belong here: what
a plan means (`halfv_core.interventions`), and which tokens are chosen, which is the same everywhere
(`halfv_core.runtime.choosing`).
"""
