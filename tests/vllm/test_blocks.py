"""Blocks of the KV cache under a Keep, as vLLM's own manager gives them to requests."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from halfv_core import Keep, Plan

pytestmark = pytest.mark.filterwarnings("ignore")

PLAN = Plan((Keep(layer=6, keep_ratio=0.5), Keep(layer=16, tokens=10, selector="attention")))
LAYERS = 32
BLOCK = 32


def specs_of(plan: Plan) -> dict[str, Any]:
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    from halfv_core.serving.vllm.blocks import pruned_specs

    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=2, head_size=32, dtype=torch.float32)
    names = [f"layers.{number}" for number in range(LAYERS)]
    return pruned_specs(dict.fromkeys(names, spec), names, plan.keeps)


def groups_of(specs: dict[str, Any]) -> list[Any]:
    from vllm.v1.core.kv_cache_utils import _get_kv_cache_groups_uniform_page_size

    return list(_get_kv_cache_groups_uniform_page_size(specs))


def managed(plan: Plan = PLAN, blocks: int = 1000) -> tuple[Any, dict[str, Any]]:
    """A manager of these blocks, and the requests that it knows, by name."""
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.kv_cache_interface import KVCacheConfig

    from halfv_core.serving.vllm.plugin import limit_blocks

    manager = KVCacheManager(KVCacheConfig(blocks, [], groups_of(specs_of(plan))), 1024, BLOCK, BLOCK)
    requests: dict[str, Any] = {}
    limit_blocks(SimpleNamespace(kv_cache_manager=manager, requests=requests), plan)
    return manager, requests


def request(name: str, visual: int, prompt: int = 300, text_first: int = 64) -> Any:
    """A prompt of text, an image, and text; the text is the same in all requests."""
    from vllm import SamplingParams
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.request import Request

    init_none_hash(sha256)
    feature = MultiModalFeatureSpec(None, "image", "an image", PlaceholderRange(text_first, visual))
    tokens = [2] * text_first + [1] * visual + [2] * (prompt - text_first - visual)
    hasher = get_request_block_hasher(BLOCK, sha256)
    features = [feature] if visual else []
    return Request(name, tokens, SamplingParams(max_tokens=50), None, mm_features=features, block_hasher=hasher)


def held(manager: Any, name: str) -> list[list[int]]:
    """Numbers of blocks of a request, one for each number of Keeps."""
    found: list[set[int]] = [set() for _ in range(len(PLAN.keeps) + 1)]
    for group, blocks in zip(manager.kv_cache_config.kv_cache_groups, manager.get_blocks(name).blocks, strict=True):
        found[group.kv_cache_spec.keeps].add(len(blocks))
    return [sorted(numbers) for numbers in found]


def test_groups_are_of_equal_size_and_nothing_fills_them_up() -> None:
    from vllm.v1.core.kv_cache_utils import is_kv_cache_spec_uniform
    from vllm.v1.kv_cache_interface import UniformTypeKVCacheSpecs

    specs = specs_of(PLAN)
    assert not is_kv_cache_spec_uniform(specs)
    assert UniformTypeKVCacheSpecs.from_specs(specs) is None
    groups = groups_of(specs)
    assert [len(group.layer_names) for group in groups] == [2] * 16
    for group in groups:
        assert {specs[name].keeps for name in group.layer_names} == {group.kv_cache_spec.keeps}


def test_layers_behind_a_keep_at_the_start_are_one_group() -> None:
    from vllm.v1.core.kv_cache_utils import is_kv_cache_spec_uniform

    assert is_kv_cache_spec_uniform(specs_of(Plan((Keep(layer=0, keep_ratio=0.5, selector="uniform"),))))


def test_requests_have_the_blocks_of_what_remains() -> None:
    manager, requests = managed()
    free = manager.block_pool.get_num_free_blocks()
    pictured = requests["pictured"] = request("pictured", 200)
    steps = [(96, [[3], [3], [3]]), (203, [[10], [7], [4]]), (1, [[10], [7], [4]]), (21, [[11], [7], [5]])]
    for tokens, expected in steps:  # two parts of the prompt, its last token, and an answer
        assert manager.allocate_slots(pictured, tokens) is not None
        pictured.num_computed_tokens += tokens
        assert held(manager, "pictured") == expected
    text = requests["text"] = request("text", 0)
    assert manager.allocate_slots(text, 300) is not None
    assert held(manager, "text") == [[10]] * 3
    for each in requests.values():
        manager.free(each)
    assert manager.block_pool.get_num_free_blocks() == free


@pytest.mark.parametrize(("blocks", "fits"), [(98, True), (97, False)])
def test_a_prompt_is_admitted_where_its_remaining_tokens_fit(blocks: int, fits: bool) -> None:
    manager, requests = managed(blocks=blocks)  # one of which vLLM never gives away
    requests["pictured"] = request("pictured", 200)
    slots = manager.allocate_slots(requests["pictured"], 96, full_sequence_must_fit=True)
    assert (slots is not None) == fits  # 3 groups of 10 blocks, 5 of 7, 8 of 4


def test_no_prompt_reads_blocks_of_one_that_loses_tokens() -> None:
    manager, requests = managed()
    requests["pictured"] = request("pictured", 200)
    assert manager.allocate_slots(requests["pictured"], 96) is not None
    first, second = request("first", 0), request("second", 0)
    assert manager.get_computed_blocks(first)[1] == 0
    requests["first"] = first
    assert manager.allocate_slots(first, 300) is not None
    assert manager.get_computed_blocks(second)[1] == 288
