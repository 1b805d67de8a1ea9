"""What `apply` needs and nobody else: one prompt's way through the decoder under a plan.

from halfv_core.runtime import apply
with apply(model, profile) as run: model.generate(**inputs)

Nothing here knows how a plan was found.
"""

from halfv_core.runtime.run import Run, apply

__all__ = ["Run", "apply"]
