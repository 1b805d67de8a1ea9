"""What `apply` needs and nothing else does: the path of a prompt through the decoder under a plan.

    from halfv_core.runtime import apply
    with apply(model, profile) as run:
        model.generate(**inputs)

Nothing here knows how a plan was found. The files, in the order in which a prompt meets them:

    generation.py     what generate() does not do under a plan
    run.py            apply() and Run: which forward call belongs to which cache
    layout.py         which tokens of the prompt are visual
    prefill_state.py  a forward call with visual tokens; choosing.py, triggers.py and freeze.py carry out the plan in it
    decode_state.py   a forward call with text only, after a prefill
    cache_state.py    what the KV cache holds between the calls; tracked_cache.py carries it along with the cache

They share the tensors of token_slots.py, layer_input.py, cached_tokens.py, masks.py, renumbering.py and attention.py.
What selectors may look at is prompt_view.py; behind it are sources.py and vision_readings.py, which asks
vision_tower.py, and vision_images.py and vision_packed.py for the kinds of towers.
patching.py wraps the model's methods, and run_record.py counts what went through them.
"""

from halfv_core.runtime.run import Run, apply

__all__ = ["Run", "apply"]
