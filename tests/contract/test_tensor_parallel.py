"""A model whose heads are split over two processes keeps the tokens, and gives the answers, of the whole model.

Both processes do all the work of this file in one go, since starting them takes longer than the work.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from transformers import AutoModelForImageTextToText, PreTrainedModel
from typer.testing import CliRunner

from cli.main import app
from halfv_core import Freeze, HalfVError, Keep, Plan, Profile, apply
from halfv_core.families import parts_of
from halfv_core.models import load_model
from halfv_core.processors import load_processor
from halfv_core.selectors import SELECTORS
from halfv_core.selectors.base import SelectionContext, Selector
from probe import calibrate, load_samples
from probe.calibration.calibrate import Settings
from probe.calibration.identity import weights_fingerprint
from probe.capture.hidden_states import capture
from probe.trials.proofs import prove
from tests.checkpoints import save_checkpoint
from tests.ranks import on_ranks
from tests.tiny import tiny_batch, tiny_model, tiny_prompt
from tests.unit.probe.calibration.test_calibrate import write_samples

FAMILIES = {"gemma3": "normed keys", "llava": "as many key heads as queries", "qwen2_5_vl": "biases, grouped queries"}
HALF = {"layer": 2, "keep_ratio": 0.5}
PLANS = {
    "attention": Plan((Keep(**HALF, selector="attention"),)),
    "attention without rope": Plan((Keep(**HALF, selector="attention", options={"rope": False}),)),
    "release": Plan((Keep(**HALF, selector="attention", options={"scoring": "release"}),)),
    "coverage": Plan((Keep(**HALF, options={"anchor_share": 0.5}),)),
    "coverage without anchors": Plan((Keep(**HALF, options={"anchor_share": 0.0}),)),
    "random": Plan((Keep(**HALF, selector="random"),)),
    "uniform": Plan((Keep(**HALF, selector="uniform"),)),
    "freeze": Plan((Freeze(layers=(1, 3)),)),
    "all": Plan((Keep(**HALF, options={"anchor_share": 0.5}), Freeze(layers=(3,)), Keep(layer=4, keep_ratio=0.25))),
    "drop": Plan((Keep(layer=3, keep_ratio=0.0),)),
}
FEW = ("attention", "attention without rope", "release", "all")
GATHERED = {"q_proj": "colwise_gather_output", "k_proj": "colwise_gather_output", "v_proj": "colwise_gather_output",
            "o_proj": "rowwise_split_input"}  # fmt: skip
"""All heads in every process."""


@torch.no_grad()
def measured(model: PreTrainedModel, family: str, plans: Sequence[str] = tuple(PLANS)) -> dict[str, Any]:
    """By plan, kept tokens and logits at the last token; and what is generated under one of them."""
    prompt = tiny_prompt(family)
    batch = tiny_batch(family, [{"images": 2}, {"images": 1, "after": 4}])
    results: dict[str, Any] = {}
    for name in plans:
        with apply(model, PLANS[name]) as run:
            logits = model(**prompt).logits[0, -1].tolist()
            results[name] = {"kept": [rows[0].tolist() for rows in run.kept.values()], "logits": logits}
    with apply(model, PLANS["all"]) as run:
        results["beams"] = model.generate(**prompt, max_new_tokens=3, num_beams=2).tolist()
        results["batch"] = model.generate(**batch, max_new_tokens=2).tolist()
        results["kept in the batch"] = [row.tolist() for rows in run.kept.values() for row in rows]
    return results


def by_transformers(place: Path, plan: Any = "auto") -> PreTrainedModel:
    from transformers.distributed import DistributedConfig

    config = DistributedConfig(tp_size=2, tp_plan=plan)
    loaded: Any = AutoModelForImageTextToText.from_pretrained(place, distributed_config=config)
    loaded.generation_config.eos_token_id = None
    return loaded.eval()  # type: ignore[no-any-return]


def by_torch() -> PreTrainedModel:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model = tiny_model("llava")
    styles: dict[str, Any] = {f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"}
    for layer in parts_of(model).layers:
        parallelize_module(layer, init_device_mesh("cpu", (2,)), styles | {"self_attn.o_proj": RowwiseParallel()})
    return model


@dataclass(frozen=True)
class OwnDraw(Selector):
    """Draws other tokens in each process."""

    def select(self, context: SelectionContext, counts: Sequence[int]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(distributed.get_rank())
        return torch.randperm(context.visual_counts[0], generator=generator)[None, : counts[0]]


def refusal(run: Callable[[], Any]) -> str:
    with pytest.raises(HalfVError) as raised:
        run()
    return str(raised.value)


SETTINGS = Settings(
    samples=4, held_out=0.5, certify=1, max_new_tokens=3, entropy_k=5, target_flops=1.5, keep_ratios=(0.5,), budget=600
)
FASTV = SETTINGS.model_copy(update={"method": "fastv"})
FOUND = {"plan", "expected", "pruning_tests", "search", "certificate", "cautions"}
"""What depends on the selectors and methods that took part in the search: some look at single heads."""


@torch.no_grad()
def probed(model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    """What is measured on a checkpoint with a processor."""
    processor = load_processor(str(folder / "checkpoint"), False, True)
    prompt = tiny_prompt("llava")
    before, forwards = model(**prompt).logits, instance_forwards(model)
    hidden = capture(model, prompt).hidden
    after = model(**prompt).logits
    return {
        "weights": weights_fingerprint(model),
        "hidden": hidden.tolist(),
        "as before": torch.equal(before, after) and forwards == instance_forwards(model),
        "proofs": {check.name: check.passed for check in prove(model, processor)},
        "profile": json.loads(calibrated(model, folder).model_dump_json()),
        "fastv": json.loads(calibrated(model, folder, FASTV, "journal of fastv").model_dump_json()),
    }


def instance_forwards(model: PreTrainedModel) -> dict[str, int]:
    return {name: id(module.__dict__.get("forward")) for name, module in model.named_modules()}


def calibrated(
    model: PreTrainedModel, folder: Path, settings: Settings = SETTINGS, journal: str = "journal"
) -> Profile:
    processor = load_processor(str(folder / "checkpoint"), False, True)
    samples = load_samples(str(folder / "data.jsonl"))
    return calibrate(model, processor, samples, settings, model_id="m", journal=folder / journal)


COMMANDS = {
    "doctor": "",
    "generate": "--image {folder}/0.png --prompt w21 --method fastv --flops 1.5 --compare --max-new-tokens 3",
    "calibrate": "--data {data} --samples 4 --certify 0 --method fastv --target-flops 1.5 --max-new-tokens 2 "
    "--output {own}/profile.json",
    "evaluate": "--data {data} --profile {own}/profile.json --samples 3 --max-new-tokens 2 --output {own}/e.json",
    "compare-methods": "--data {data} --methods fastv,vtw --flops 1.5 --samples 2 --output {own}/methods.json",
    "analyze": "--data {data} --probes lens,rank --samples 2 --max-new-tokens 2 --output {own}/analysis.json",
}
"""What runs with `--tensor-parallel`, with arguments."""


def said_by_commands(folder: Path, own: str, *more: str) -> dict[str, Any]:
    """The JSON that the commands print. Each process has a folder of its own, where all but the first write in vain."""
    (folder / own).mkdir()
    places = {"folder": folder, "data": folder / "data.jsonl", "own": folder / own}
    said: dict[str, Any] = {}
    for command, text in COMMANDS.items():
        arguments = [command, "--model", str(folder / "checkpoint"), *text.format(**places).split(), *more, "--json"]
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        said[command] = json.loads(result.stdout)
    return said


def work(folder: Path) -> dict[str, Any]:
    """What one of the two processes finds."""
    results: dict[str, Any] = {}
    for family in FAMILIES:
        results[family] = measured(by_transformers(folder / family), family)
    checkpoint = load_model(str(folder / "checkpoint"), tensor_parallel=2).model
    results["probed"] = probed(checkpoint, folder)
    results["journal"] = (folder / "journal").read_text()
    results["resumed"] = json.loads(calibrated(checkpoint, folder).model_dump_json())
    other = SETTINGS.model_copy(update={"entropy_k": 4})
    results["other journal"] = refusal(lambda: calibrated(checkpoint, folder, other))
    results["said"] = said_by_commands(folder, f"rank{distributed.get_rank()}", "--tensor-parallel", "2")
    results["three"] = refusal(lambda: load_model(str(folder / "checkpoint"), tensor_parallel=3))
    layers = "model.language_model.layers.*.self_attn."
    gathered = by_transformers(folder / "llava", {layers + name: style for name, style in GATHERED.items()})
    assert parts_of(gathered).layers[0].self_attn.k_proj(torch.zeros(1, 1, 32)).shape[-1] == 32
    results["gathered"] = measured(gathered, "llava", FEW)
    results["torch"] = measured(by_torch(), "llava", FEW)
    SELECTORS.register("own_draw")(OwnDraw)
    with torch.no_grad(), apply(gathered, Plan((Keep(**HALF, selector="own_draw"),))) as run:
        gathered(**tiny_prompt("llava"))
    results["own draw"] = run.kept[2][0].tolist()
    split = tiny_model("llava")
    split._device_mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("pp", "tp"))
    results["pipeline"] = refusal(lambda: parts_of(split))
    split._device_mesh = None
    from torch.distributed.fsdp import fully_shard

    fully_shard(parts_of(split).layers[1], mesh=init_device_mesh("cpu", (2,)))
    results["FSDP"] = refusal(lambda: parts_of(split))
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    pytest.importorskip("transformers.distributed.tensor_parallel", reason="an older transformers splits otherwise")
    folder = tmp_path_factory.mktemp("ranks")
    for family in FAMILIES:
        tiny_model(family).save_pretrained(folder / family)
    save_checkpoint("llava", folder / "checkpoint")
    write_samples(folder)
    return on_ranks(f"{__name__}:work", folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    write_samples(folder)
    place = save_checkpoint("llava", folder / "checkpoint")
    return probed(load_model(str(place)).model, folder) | {"said": said_by_commands(folder, "alone")}


def assert_same(found: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    for name in ("beams", "batch", "kept in the batch"):
        assert found[name] == whole[name], name
    assert found.keys() == whole.keys()
    for plan in PLANS.keys() & whole.keys():
        assert found[plan]["kept"] == whole[plan]["kept"], plan
        torch.testing.assert_close(
            torch.tensor(found[plan]["logits"]), torch.tensor(whole[plan]["logits"]), rtol=1e-4, atol=2e-5
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_plan_is_that_of_one_process(family: str, ranks: list[dict[str, Any]]) -> None:
    whole = measured(tiny_model(family), family)
    for found in ranks:
        assert_same(found[family], whole)


@pytest.mark.parametrize("split", ["gathered", "torch"])
def test_it_does_not_matter_who_splits_and_how(split: str, ranks: list[dict[str, Any]]) -> None:
    whole = measured(tiny_model("llava"), "llava", FEW)
    for found in ranks:
        assert_same(found[split], whole)


def test_ranks_keep_what_the_first_one_chose(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["own draw"] == ranks[1]["own draw"]


@pytest.mark.parametrize(
    "split, got", [("pipeline", "over a device mesh of {'pp': 2, 'tp': 1}"), ("FSDP", "sharded by FSDP")]
)
def test_other_ways_of_splitting_are_refused(split: str, got: str, ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert got in found[split]


def test_what_is_measured_is_that_of_one_process(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    for found in (one["probed"] for one in ranks):
        assert found["weights"] == alone["weights"]
        torch.testing.assert_close(torch.tensor(found["hidden"]), torch.tensor(alone["hidden"]), rtol=1e-4, atol=1e-5)
        assert found["as before"]
        assert set(found["proofs"].values()) == {True} and found["proofs"] == alone["proofs"]
        assert_close(without_times(found["fastv"]), without_times(alone["fastv"]))
        kept, expected = (without_times(one["profile"]) for one in (found, alone))
        for name in FOUND:
            del kept[name], expected[name]
        assert_close(kept, expected)
    assert ranks[0]["probed"]["profile"] == ranks[1]["probed"]["profile"]


def without_times(profile: dict[str, Any]) -> dict[str, Any]:
    times = {"created": "", "seconds": 0.0, "seconds_by_step": {}}
    checks = [{**check, "found": ""} for check in profile["checks"]]
    return profile | {"provenance": profile["provenance"] | times, "checks": checks}


def assert_close(found: Any, expected: Any) -> None:
    """Equal, but for floats, which may differ by 1e-4."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)


def test_one_process_writes_the_journal_and_all_resume_from_it(ranks: list[dict[str, Any]]) -> None:
    names = [json.loads(line).get("name") for line in ranks[0]["journal"].splitlines()]
    assert len(names) == len(set(names)) > 5
    for found in ranks:
        assert without_times(found["resumed"]) == without_times(found["probed"]["profile"])
        assert "holds unfinished work with another entropy_k" in found["other journal"]


TIMES = ("seconds", "first_token_ratio", "prefill_ratio", "selection_share", "created", "found")
"""Parts of the names of what differs from run to run."""
GIVEN = ("arguments_given", "data", "model_id", "model", "name", "profile", "sample_ids")


def lasting(said: Any) -> Any:
    """What a command printed, without times and the folders that it was given."""
    if isinstance(said, dict):
        return {
            name: lasting(value)
            for name, value in said.items()
            if not any(part in name for part in TIMES) and not (name in GIVEN and isinstance(value, str | dict))
        }
    return [lasting(one) for one in said] if isinstance(said, list) else said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_what_it_says_in_one_process(
    command: str, ranks: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    for found in ranks:
        assert_close(lasting(found["said"][command]), lasting(alone["said"][command]))


def test_another_number_of_processes_is_one_line(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        assert "got 2 processes; expected 3; type: torchrun --nproc-per-node 3 -m cli.main" in found["three"]
