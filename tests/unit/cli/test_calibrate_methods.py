"""`calibrate --method`: what the method needs is measured, and its plan is the profile's."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cli.main import main
from cli.plan_options import MethodOptions
from halfv_core import Freeze, Keep, Plan, Profile
from halfv_core.methods import METHODS, Measured, Target, measured_by, plan_at
from halfv_core.models import load_model
from probe.evaluation.methods.entrants import entrants
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

FAST = ["--samples", "5", "--certify", "0", "--max-new-tokens", "2", "--entropy-k", "5", "--examples", "1"]

Ask = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("methods")
    save_checkpoint("qwen2_5_vl", root / "model")
    save_checkpoint("gemma3", root / "other")
    write_samples(root)
    return root


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Run `halfv-probe calibrate ...`; return its exit code and output."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, model: str = "./model", data: str = "data.jsonl") -> tuple[int, str]:
        command = ["halfv-probe", "calibrate", "--model", model, "--data", data, *FAST, *arguments]
        monkeypatch.setattr(sys, "argv", [*command, "--output", "p.json"])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), " ".join("".join(capfd.readouterr()).split())

    return run


def target_of(profile: Profile, folder: Path) -> Target:
    """What the plan was made for, with what the profile says was measured."""
    config = load_model(str(folder / "model"), device="cpu").model.config
    expected = profile.expected
    return Target.of(config, round(expected.visual_tokens), round(expected.text_tokens), measured_by(profile))


def test_vtw_on_a_bundled_model(ask: Ask, folder: Path) -> None:
    code, printed = ask("--method", "vtw", "--report", "p.html", model="tiny-llava", data="scenes")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    assert profile.method is not None
    assert (profile.method.name, profile.method.samples, len(profile.method.withdrawal)) == ("vtw", 4, profile.layers)
    (keep,) = profile.plan.keeps
    assert profile.plan == Plan((Keep(layer=keep.layer, keep_ratio=0.0),))
    assert keep.layer == next(layer for layer in range(5, 12) if profile.method.withdrawal[layer] <= 0.003)
    assert profile.expected.held_out == 1 and profile.expected.agreement is not None
    assert profile.pruning_tests == profile.saturation.tests == ()
    assert {"curves", "withdrawal", "held-out"} <= set(profile.provenance.seconds_by_step)
    assert not {"search", "plans", "causal curves", "marginal utility"} & set(profile.provenance.seconds_by_step)
    assert "method vtw plan layer" in printed
    page = (folder / "p.html").read_text()
    assert "Of the published method <code>vtw</code>." in page and "not tested" in page


def test_shortv_takes_the_kl_curve(ask: Ask, folder: Path) -> None:
    code, printed = ask("--method", "shortv")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    curve = profile.curves.kl.mean
    assert profile.plan == Plan((Freeze(layers=sorted(range(len(curve)), key=curve.__getitem__)[:3]),))
    assert profile.method is not None and profile.method.samples == 0


def test_fitprune_at_a_budget_and_once_more_at_another_from_the_profile(ask: Ask, folder: Path) -> None:
    code, printed = ask("--method", "fitprune", "--target-flops", "1.3")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    assert profile.expected.flops_ratio == pytest.approx(1.3, rel=0.1)
    target, method = target_of(profile, folder), METHODS["fitprune"]()
    assert len(target.measured.removed) == 21
    assert plan_at(method, target, 1.3) == profile.plan
    assert target.flops_ratio(plan_at(method, target, 1.2)) == pytest.approx(1.2, rel=0.1)


def test_hawk_weighs_its_heads(ask: Ask, folder: Path) -> None:
    code, printed = ask("--method", "hawk")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    weights = measured_by(profile).head_weights
    assert len(weights) == 4 and min(weights) >= 0.0 < max(weights)
    options = profile.plan.keeps[0].options
    assert options["head_weights"] == ",".join(f"{weight:g}" for weight in weights)


def test_visipruner_chooses_its_settings(ask: Ask, folder: Path) -> None:
    """They are taken from the profile, and the published ones can be had too, and stand beside them in a comparison."""
    code, printed = ask("--method", "visipruner", "--target-retention", "0.5")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    assert profile.method is not None and profile.method.samples == 4
    found = profile.method.visipruner
    assert found is not None and found.retention >= 0.5 and found.flops_ratio > 1
    assert f"had {found.flops_ratio:.2f}x fewer FLOPs" in printed
    target, method = target_of(profile, folder), METHODS["visipruner"]()
    assert method.default(target) == profile.plan
    published = method.variants(target)[1].default(target)
    assert published == method.default(replace(target, measured=Measured()))
    rows, _ = entrants(["visipruner"], target, (2.0,))
    assert {row.label: row.plan for row in rows[1:]} == {
        "visipruner": profile.plan,
        "visipruner (thresholds published)": published,
    }
    config = load_model(str(folder / "model"), device="cpu").model.config
    assert MethodOptions("visipruner").plan(config, target.visual, target.text, profile) == profile.plan


@pytest.mark.parametrize("method", ["fastv", "hawk"])
def test_a_budget_too_short_for_everything(method: str, ask: Ask, folder: Path) -> None:
    code, printed = ask("--method", method, "--budget", "1s")
    assert code == 0, printed
    profile = Profile.load(folder / "p.json")
    assert profile.plan == METHODS[method]().default(target_of(profile, folder))
    assert not [
        sentence for sentence in profile.provenance.dropped if "plans" in sentence.lower() or "Stage III" in sentence
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "fastvee"], "unknown method; got 'fastvee'"),
        (["--method", "vtw", "--target-retention", "0.9"], "a method's plan is not searched for by retention"),
        (["--method", "visipruner", "--target-flops", "2"], "VisiPruner has no budget"),
        (["--method", "vtw"], "no layer is late enough to withdraw the visual tokens"),
        (["--method", "fastv", "--target-flops", "90"], "FastV cannot be set to this budget on this model"),
    ],
)
def test_what_makes_no_sense_is_refused(ask: Ask, arguments: list[str], message: str, folder: Path) -> None:
    code, errors = ask(*arguments)
    (folder / "p.json.unfinished").unlink(missing_ok=True)
    assert code == 2
    assert message in errors


def test_a_method_that_this_family_cannot_run_is_refused_before_anything_is_measured(ask: Ask, folder: Path) -> None:
    code, errors = ask("--method", "visionzip", model="./other")
    assert code == 2
    assert "VisionZip cannot be used with this model: it looks at the vision tower" in errors
    assert not (folder / "p.json.unfinished").exists()
