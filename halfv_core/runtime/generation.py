"""What generate() does not do under a plan."""

from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.runtime.patching import Forward

_GUESSING = ("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")


def refusing_generate(generate: Forward, visual_ids: Sequence[int]) -> Forward:
    """`generate`, but assisted decoding and a prefill in chunks are refused.

    Assisted decoding appends guesses to the prompt, whose last token then is not the user's. The chunks of a prompt
    would each be pruned by their own last token.

    Args:
        generate: the model's own method.
        visual_ids: ids that stand for visual tokens.
    """

    @wraps(generate)
    def run_generate(*args: Any, **kwargs: Any) -> Any:
        config = args[1] if len(args) > 1 else kwargs.get("generation_config")
        default = generate.__self__.generation_config  # type: ignore[attr-defined]

        def setting(name: str) -> Any:
            """As generate() finds it: its own argument, else the config it is given, else the model's."""
            if name in kwargs:
                return kwargs[name]
            value = getattr(config, name, None)
            return getattr(default, name, None) if value is None else value

        if kwargs.get("assistant_model") is not None or any(setting(name) for name in _GUESSING):
            raise UnsupportedError("assisted decoding cannot run under a plan", remedy="leave out the assistant")
        chunk = setting("prefill_chunk_size")
        prompt = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
        if chunk is not None and prompt is not None and prompt.shape[1] > chunk and _has_visual(prompt, visual_ids):
            raise UnsupportedError(
                "a prompt with images cannot be prefilled in chunks under a plan",
                got=f"prefill_chunk_size={chunk} for {prompt.shape[1]} tokens",
                remedy="pass prefill_chunk_size=None",
            )
        return generate(*args, **kwargs)

    return run_generate


def _has_visual(input_ids: torch.Tensor, visual_ids: Sequence[int]) -> bool:
    return bool(torch.isin(input_ids, torch.as_tensor(list(visual_ids), device=input_ids.device)).any())
