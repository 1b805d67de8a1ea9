"""The KV cache of layers behind a Keep: fewer blocks for a request, in groups of layers of their own.

vLLM gives blocks to groups of layers, all of which need the same number of entries for a request, and all groups take
their blocks from one pool. Here the layers between two Keeps are such groups, and ask for what remains there of a
request. How much that is follows from the prompt alone, so that scheduler and workers need not speak about it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.kv_cache_interface import FullAttentionSpec, replace_as
from vllm.v1.kv_cache_spec_registry import KVCacheSpecRegistry, register_kv_cache_spec

from halfv_core.interventions import Keep
from halfv_core.serving.vllm.requests import cache_entries, layer_places, visual_left, visual_tokens

# vLLM registers its own kinds of cache at the first check, but only if nobody has registered one before.
KVCacheSpecRegistry.check_kv_cache_spec_registry({})


class Dropped:
    """How many visual tokens each Keep has taken from a request."""

    def __init__(self, keeps: Sequence[Keep], requests: Mapping[str, Any]) -> None:
        """Look at requests when they are asked for.

        Args:
            keeps: of the plan, by layer.
            requests: vLLM's requests by name, as the scheduler has them.
        """
        self._keeps = keeps
        self._requests = requests
        self._left: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()

    def of(self, name: str, keeps: int) -> tuple[int, int]:
        """The length of a request's prompt, and how many of its tokens the first `keeps` Keeps drop together."""
        request = self._requests[name]
        if request not in self._left:
            visual = visual_tokens(request.mm_features, request.num_prompt_tokens)
            self._left[request] = visual_left(self._keeps, len(visual))
        left = self._left[request]
        return request.num_prompt_tokens, left[0] - left[keeps]


class PrunedManager(FullAttentionManager):  # type: ignore[misc]  # vLLM has no types here
    """Gives requests the blocks that their remaining tokens need in a group of layers."""

    dropped: Dropped
    """Set by the plugin as soon as the scheduler is there."""

    def get_num_blocks_to_allocate(self, request_id: str, num_tokens: int, *args: Any, **kwargs: Any) -> int:
        """See FullAttentionManager."""
        found: int = super().get_num_blocks_to_allocate(
            request_id, self._entries(request_id, num_tokens), *args, **kwargs
        )
        return found

    def allocate_new_blocks(self, request_id: str, num_tokens: int, num_tokens_main_model: int) -> Any:
        """See FullAttentionManager."""
        return super().allocate_new_blocks(request_id, self._entries(request_id, num_tokens), num_tokens_main_model)

    def cache_blocks(self, request: Any, num_tokens: int, *args: Any, **kwargs: Any) -> None:
        """Offer full blocks to other prompts, except those of a request that loses tokens here.

        Its blocks do not hold the tokens after which vLLM would name them, and they are empty while parts of the prompt
        wait for its last token.
        """
        if not self._dropped(request.request_id)[1]:
            super().cache_blocks(request, num_tokens, *args, **kwargs)

    def _dropped(self, request_id: str) -> tuple[int, int]:
        return self.dropped.of(request_id, self.kv_cache_spec.keeps)

    def _entries(self, request_id: str, num_tokens: int) -> int:
        return cache_entries(num_tokens, *self._dropped(request_id))


@register_kv_cache_spec(manager_class=PrunedManager)
@dataclass(frozen=True, kw_only=True)
class PrunedSpec(FullAttentionSpec):  # type: ignore[misc]  # vLLM has no types here
    """The cache of one layer under a plan with Keeps."""

    keeps: int
    """Number of Keeps up to the layer."""
    is_apart: bool
    """See `layer_places`."""

    @classmethod
    def merge(cls, specs: list[Any]) -> Any:
        """The spec of layers in one group; others than equal ones raise an AssertionError, as vLLM expects."""
        return super(FullAttentionSpec, cls).merge(specs)

    def is_uniform_with_collection(self, kv_cache_specs: dict[str, Any]) -> bool:
        """Whether layers need the same number of entries."""
        return all(spec == self for spec in kv_cache_specs.values())


def pruned_specs(specs: Mapping[str, Any], layers: Sequence[str], keeps: Sequence[Keep]) -> dict[str, Any]:
    """What the layers of a decoder ask of vLLM's KV cache under a plan.

    Args:
        specs: a FullAttentionSpec for each layer, by name; other kinds stay as they are, and are refused later.
        layers: names of the decoder's layers, in their order.
        keeps: of the plan, by layer.

    Returns:
        The same names in the same order.
    """
    places = dict(zip(layers, layer_places([keep.layer for keep in keeps], len(layers)), strict=True))
    return {
        name: replace_as(spec, PrunedSpec, keeps=places[name][0], is_apart=places[name][1])
        if type(spec) is FullAttentionSpec
        else spec
        for name, spec in specs.items()
    }
