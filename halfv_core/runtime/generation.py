"""What generate() does not do under a plan."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.errors import UnsupportedError

_GUESSING = ("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")


def check_generate(model: PreTrainedModel, visual_ids: Sequence[int], *args: Any, **kwargs: Any) -> None:
    """Refuse a call of generate() that would choose visual tokens by another token than the prompt's last one.

    Assisted decoding appends guesses to the prompt. The chunks of a prompt would each be pruned by their own last
    token.

    Args:
        model: whose generate() is called.
        visual_ids: ids that stand for visual tokens.
        args: of the call.
        kwargs: of the call.

    Raises:
        UnsupportedError: assisted decoding, or a prompt with images that `prefill_chunk_size` would cut.
    """
    config = args[1] if len(args) > 1 else kwargs.get("generation_config")

    def setting(name: str) -> Any:
        """As generate() finds it: its own argument, else that of the config it is given, else the model's."""
        if name in kwargs:
            return kwargs[name]
        value = getattr(config, name, None)
        return getattr(model.generation_config, name, None) if value is None else value

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


def _has_visual(input_ids: torch.Tensor, visual_ids: Sequence[int]) -> bool:
    return bool(torch.isin(input_ids, torch.as_tensor(list(visual_ids), device=input_ids.device)).any())
