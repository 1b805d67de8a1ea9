"""A model under a plan in lmms-eval, as far as that goes without lmms-eval."""

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from halfv_core import HalfVError, Keep, Plan, Profile, apply
from halfv_core.errors import PlanError, UnsupportedError
from halfv_core.serving.lmms_eval import manifest
from halfv_core.serving.lmms_eval.under_plan import UnderPlan, chosen_plan, failures_end_the_process
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan([Keep(layer=1, keep_ratio=0.5)])
ROOT = Path(__file__).parents[4]
PROFILE = ROOT / "data_samples" / "profiles" / "tiny-llava.json"


class Evaluated:
    """A model as lmms-eval's classes hold it; like some of them, it takes a failure for an empty answer."""

    def __init__(self) -> None:
        self.model = tiny_model("llava")
        self.cleaned = False

    def answer(self, **settings: Any) -> list[int]:
        try:
            return self.model.generate(**tiny_prompt("llava"), max_new_tokens=4, **settings)[0].tolist()
        except Exception:
            return []

    def clean(self) -> None:
        self.cleaned = True


class EvaluatedUnderPlan(UnderPlan, Evaluated):
    """As lmms-eval's classes are built."""


def test_lmms_eval_finds_the_model() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    assert EntryPoint("halfv", declared["halfv"], "lmms_eval.models").load() is manifest


def test_answers_are_those_of_apply() -> None:
    evaluated = EvaluatedUnderPlan()
    evaluated.enter(PLAN)
    model = tiny_model("llava")
    with apply(model, PLAN) as run:
        expected = model.generate(**tiny_prompt("llava"), max_new_tokens=4)
    assert evaluated.answer() == expected[0].tolist()
    assert evaluated._cost == run.cost
    evaluated.answer()
    assert evaluated._cost == run.cost + run.cost


def test_a_failure_is_no_empty_answer(capsys: pytest.CaptureFixture[str]) -> None:
    evaluated = EvaluatedUnderPlan()
    evaluated.enter(PLAN)
    with pytest.raises(SystemExit, match="^halfv: assisted decoding cannot run under a plan; leave out the assistant$"):
        evaluated.answer(prompt_lookup_num_tokens=2)
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_project_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^halfv: KeyError: 'x'$"), failures_end_the_process():
        raise KeyError("x")
    assert "Traceback" in capsys.readouterr().err


def test_given_answers_are_not_scored() -> None:
    with pytest.raises(SystemExit, match="given answers cannot be scored under a plan"):
        EvaluatedUnderPlan().loglikelihood([])


def test_the_plan_ends_when_the_answers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, float]] = []
    monkeypatch.setattr("halfv_core.serving.lmms_eval.under_plan._log", logged.append)
    evaluated = EvaluatedUnderPlan()
    before = dict(vars(evaluated.model))
    evaluated.enter(PLAN)
    with pytest.raises(UnsupportedError, match="applied to this model already"), apply(evaluated.model, PLAN):
        pass
    evaluated.answer()
    evaluated.clean()
    assert evaluated.cleaned and vars(evaluated.model) == before
    assert evaluated._cost is not None and logged[0]["flops_ratio"] == evaluated._cost.flops_ratio


def test_a_class_without_a_transformers_model_is_refused() -> None:
    class Remote(UnderPlan):
        pass

    with pytest.raises(HalfVError, match="not a transformers model"):
        Remote().enter(PLAN)


def test_the_plan_is_named_once(tmp_path: Path) -> None:
    place = tmp_path / "plan.json"
    PLAN.save(place)
    arguments = {"plan": str(place), "pretrained": "x"}
    assert chosen_plan(arguments) == PLAN and arguments == {"pretrained": "x"}
    assert chosen_plan({"profile": str(PROFILE)}) == Profile.load(PROFILE)
    for wrong in ({}, {"plan": str(place), "profile": str(PROFILE)}):
        with pytest.raises(HalfVError, match="needs one plan; got (none|profile and plan); expected profile=FILE"):
            chosen_plan(wrong)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "holds no plan: value: Invalid JSON"),
        ('{"interventions": [{"kind": "keep", "layer": 1, "keep_ratio": 2}]}', "holds no plan: .*keep_ratio"),
        ('{"interventions": [{"kind": "keep", "layer": 1, "keep_ratio": 0.5, "selector": "x"}]}', "holds no plan: .*x"),
    ],
)
def test_a_file_without_a_plan_is_refused(text: str, line: str, tmp_path: Path) -> None:
    place = tmp_path / "plan.json"
    place.write_text(text)
    with pytest.raises(PlanError, match=line):
        Plan.load(place)
    with pytest.raises(PlanError, match="cannot read plan .*: No such file or directory"):
        Plan.load(tmp_path / "nowhere.json")


def test_the_page_writes_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code on docs/lmms-eval.md runs as it stands."""
    (tmp_path / "data_samples").symlink_to(ROOT / "data_samples")
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "lmms-eval.md").read_text(), re.DOTALL)
    exec(compile(block, "lmms-eval.md", "exec"), {})  # noqa: S102 - our own page
    plans = [Plan.load(path) for path in sorted(tmp_path.glob("runs/plans/*.json"))]
    assert len(plans) >= 6 and all(plan.interventions for plan in plans)
