"""Plans on models whose linear layers are quantised, adapted, hooked or otherwise not a plain matrix."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import ModelError
from halfv_core.families import parts_of
from halfv_core.precision import rows_of
from halfv_core.runtime.attention import attention_scores
from halfv_core.selectors.ranking import highest
from tests.masked_reference import layer_calls, masked_logits
from tests.quantised import KINDS, replace_linears
from tests.tiny import IMAGE, tiny_model, tiny_prompt

FAMILIES = pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl"])
KIND = pytest.mark.parametrize("kind", KINDS)
PLANS = (
    Plan((Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.5}), Freeze(layers=(3,)))),
    Plan((Keep(layer=2, keep_ratio=0.5, selector="attention", options={"scoring": "release", "rope": False}),)),
)


@KIND
@FAMILIES
@torch.no_grad()
def test_plans_equal_masking(family: str, kind: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    replace_linears(model, KINDS[kind])
    for plan in PLANS:
        with apply(model, plan) as run:
            logits = model(**inputs).logits[0, -1]
        expected = masked_logits(model, inputs, plan, {layer: rows[0] for layer, rows in run.kept.items()})
        torch.testing.assert_close(logits, expected[-1], rtol=1e-4, atol=2e-5)


@KIND
@FAMILIES
@torch.no_grad()
def test_scores_are_made_with_the_layer_as_it_is(family: str, kind: str) -> None:
    """Those of the keys that the projection gives when it is called."""
    model, inputs = tiny_model(family), tiny_prompt(family)
    replace_linears(model, KINDS[kind])
    attention = parts_of(model).layers[1].self_attn
    normed = parts_of(model).layers[1].input_layernorm(layer_calls(model, inputs).hidden[1])
    q_norm, k_norm = (getattr(attention, name, nn.Identity()) for name in ("q_norm", "k_norm"))
    query = q_norm(attention.q_proj(normed).view(1, -1, 4, 8)).transpose(1, 2)[0, :, -1]  # (heads, 8)
    keys = k_norm(attention.k_proj(normed).view(1, normed.shape[1], -1, 8)).transpose(1, 2)[0]  # (key heads, N, 8)
    keys = keys.repeat_interleave(4 // len(keys), dim=0)
    visual = (inputs["input_ids"][0] == IMAGE).nonzero().squeeze(1)
    scores = torch.einsum("hd,hnd->hn", query, keys[:, visual]).softmax(-1).mean(0)
    expected = visual[highest(scores[None], 8)[0]].sort().values
    with apply(model, PLANS[1]) as run:
        model(**inputs)
    assert run.kept[2][0].tolist() == expected.tolist()


@torch.no_grad()
def test_sharded_keys_need_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that a process has are a matrix like any other."""
    model, inputs, found = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl"), []
    project = parts_of(model).layers[1].self_attn.k_proj

    def scores(*arguments: Any) -> torch.Tensor:
        found.append(attention_scores(*arguments))
        return found[-1]

    monkeypatch.setattr("halfv_core.runtime.choosing.attention_scores", scores)
    with apply(model, PLANS[1]):
        model(**inputs)
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        made = 0
        own, plain = project.forward, project.weight

        def forward(states: torch.Tensor) -> Any:  # as transformers' tensor parallelism
            nonlocal made
            made += 1
            project.weight, sharded = plain, project.weight
            output = own(states)
            project.weight = sharded
            return output

        project.forward = forward
        project.weight = nn.Parameter(distribute_tensor(plain.data, init_device_mesh("cpu", (1,)), [Shard(0)]))
        with apply(model, PLANS[1]):
            model(**inputs)
        assert made == 1 and torch.equal(found[0], found[1])
        device = torch.device("cpu")
        assert torch.equal(rows_of(project, device), plain)  # type: ignore[arg-type]
        assert rows_of(nn.Sequential(project), device) is None and rows_of(nn.Identity(), device) is None
    finally:
        distributed.destroy_process_group()


def test_a_fused_attention_is_refused() -> None:
    model = tiny_model("llava")
    attention: Any = parts_of(model).layers[2].self_attn
    attention.qkv_proj = nn.Linear(32, 96)
    del attention.q_proj, attention.k_proj, attention.v_proj
    with pytest.raises(ModelError, match=r"the model has no model.language_model.layers\[2\].self_attn.q_proj"):
        parts_of(model)
