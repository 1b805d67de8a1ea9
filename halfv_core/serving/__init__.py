"""Programs of others that run a model under a plan, one folder each; every one of them is optional.

A folder imports its program only where that runs, so that halfv_core works without it. What does not belong here: what
a plan means (`halfv_core.interventions`), what it does to a model (`halfv_core.runtime`), and which tokens are chosen,
which is the same everywhere (`halfv_core.runtime.choosing`).
"""
