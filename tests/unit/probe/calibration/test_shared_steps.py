"""Steps that several processes, here threads, measure together: rounds, bad samples, steps that are not recorded."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from halfv_core.errors import DataError
from probe.calibration.step_runner import Limit, StepRunner
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journals import opened
from probe.common.presence import RankFailed
from probe.data.prompt_size import prompt_size
from probe.data.samples import Sample
from tests.unit.probe.calibration.test_runner import MODEL
from tests.unit.probe.common.test_data_parallel import together


@dataclass(frozen=True)
class Lengths(Step[int]):
    """Letters of the questions; those of bad samples cannot be counted."""

    name = "lengths"
    skips_bad_samples = True

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        time.sleep(0.01)
        if sample.question.startswith("bad"):
            raise DataError(f"{sample.question} cannot be counted")
        return {"letters": len(sample.question)}

    def combine(self, items: Mapping[str, Item]) -> int:
        return sum(item["letters"] for item in items.values())


@dataclass(frozen=True)
class Strict(Lengths):
    skips_bad_samples = False


@dataclass(frozen=True)
class Everywhere(Lengths):
    recorded = False

    def merged(self, items: Any) -> Item:
        return {"letters": len(items)}


def samples(*questions: str) -> list[Sample]:
    return [Sample(id=f"s{at}", images=[Path("none.png")], question=text) for at, text in enumerate(questions)]


def measured(
    team: DataParallel, step: Lengths, given: list[Sample], journal: Path | None = None, limit: Limit | None = None
) -> Any:
    """Items, rejected samples and progress, in the first process."""
    told: list[tuple[str, int, int]] = []
    with opened(journal, {}, data_parallel=team) as records:
        runner = StepRunner(MODEL, records, lambda *step: told.append(step), team)
        if not team.is_first:
            return runner.serve(given, dict)
        items = runner.measure_all(step, given, limit=limit)
        runner.finish({})
    return items, list(map(str, runner.rejected)), told


GIVEN = samples("a", "bad one", "ccc", "dd", "bad two", "eeeee", "f")


@pytest.mark.parametrize("size", [2, 3, 9])
def test_items_and_rejected_samples_are_in_the_order_of_one_process(size: int, tmp_path: Path) -> None:
    alone = measured(ALONE, Lengths(), GIVEN)
    first = together(size, lambda team: measured(team, Lengths(), GIVEN, tmp_path / "j"))[0]
    assert first == alone and list(first[0]) == list(alone[0])
    assert first[1] == ["s1: bad one cannot be counted", "s4: bad two cannot be counted"]
    assert measured(ALONE, Lengths(), GIVEN, tmp_path / "j") == alone


def test_a_bad_sample_of_a_strict_step_ends_all() -> None:
    found = together(3, lambda team: measured(team, Strict(), GIVEN))
    assert sum(type(error) is DataError for error in found) >= 1
    for error in found:
        assert isinstance(error, DataError | RankFailed) and "cannot be counted" in str(error)


def test_a_step_that_is_not_recorded_runs_in_every_process() -> None:
    items, _, told = together(3, lambda team: measured(team, Everywhere(), GIVEN[:1]))[0]
    assert (items, told) == ({"s0": {"letters": 3}}, [])
    assert measured(ALONE, Everywhere(), GIVEN[:1])[0] == {"s0": {"letters": 1}}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_limit_is_asked_before_each_round_and_not_overstepped(size: int) -> None:
    asked: list[tuple[str, int]] = []

    def most(sample: str, count: int) -> int | None:
        asked.append((sample, count))
        return None if count < 2 else 4

    given = samples(*"abcdefg")

    def work(team: DataParallel) -> Any:
        return measured(team, Lengths(), given, limit=Limit(most))

    items, *_ = (together(size, work) if size > 1 else [work(ALONE)])[0]
    assert list(items) == ["s0", "s1", "s2", "s3"]
    assert (
        asked
        == {
            1: [("s0", 0), ("s1", 1), ("s2", 2), ("s3", 3), ("s4", 4)],
            2: [("s0", 0), ("s2", 2), ("s4", 4)],
            3: [("s0", 0), ("s3", 3), ("s4", 4)],
        }[size]
    )


def test_what_was_decided_is_decided_again_by_another_number_of_processes(tmp_path: Path) -> None:
    """Three stopped before s3, in the middle of what would be a round of two; nothing is decided about stored items."""
    given = samples(*"abcdefg")

    def stopping(team: DataParallel) -> Any:
        return measured(team, Lengths(), given, tmp_path / "j", Limit(lambda sample, count: 3))

    assert list(together(3, stopping)[0][0]) == ["s0", "s1", "s2"]
    asked: list[str] = []

    def again(team: DataParallel) -> Any:
        limit = Limit(lambda sample, count: asked.append(sample) or 3, lambda sample: sample == "s3")
        return measured(team, Lengths(), given, tmp_path / "j", limit)

    assert list(together(2, again)[0][0]) == ["s0", "s1", "s2"]
    assert asked == ["s3"]


def test_a_check_has_passed_if_it_has_in_all_processes() -> None:
    good, bad = ({"name": "same", "passed": passed, "found": "x"} for passed in (True, False))
    merged = SelfChecks(5).merged
    assert merged([[good]]) == merged([[good], [good]]) == [good]
    assert merged([[bad]]) == merged([[bad], [good]]) == [bad]
    assert merged([[good], [good], [bad]]) == [bad | {"found": "x (rank 2)"}]


def test_prompts_with_more_pixels_and_words_are_longer(tmp_path: Path) -> None:
    for side in (28, 280):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    small, large, none = (
        Sample(id="s", images=[tmp_path / name], question="w" * 8) for name in ("28.png", "280.png", "none.png")
    )
    video = Sample(id="v", images=[tmp_path / "280.png"] * 3, question="w" * 8)
    assert [prompt_size(sample) for sample in (none, small, large, video)] == [2.0, 3.0, 102.0, 302.0]
    assert prompt_size(small.model_copy(update={"question": "w" * 80})) == 21.0
