"""A small campaign that is the same in every run, and whether a campaign would notice a fault."""

import sys
from pathlib import Path

import pytest

from halfv_core.errors import DataError
from tests.fuzz.campaign import Case, Target, damage, ended, run_case, save
from tests.fuzz.mutations import damaged_json
from tests.fuzz.targets import TARGETS

QUICK = [
    target for target in TARGETS if not target.name.startswith(("checkpoint", "journal", "profile", "observations"))
]
SLOW_FEW = ("checkpoint-qwen2_5_vl-preprocessor_config.json", "checkpoint-llava-config.json", "profile")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_files_end_with_one_line(target: Target, tmp_path: Path) -> None:
    few = 3 if target in QUICK else 1 if target.name in SLOW_FEW else 0
    if few:
        target.prepare(tmp_path)
    for index in range(few):
        fault = run_case(Case(target, index, 0), tmp_path)
        assert fault is None, fault


def test_the_campaign_is_large_and_its_names_are_different() -> None:
    assert sum(target.count for target in TARGETS) >= 2000
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def _write(folder: Path) -> None:
    (folder / "x.json").write_text('{"a": [1, 2]}')


def _fail() -> None:
    raise ZeroDivisionError("division by zero")


def _run_out() -> None:
    raise MemoryError


def _never_end() -> None:
    while True:
        pass


def _print_two() -> None:
    print("Traceback (most recent call last):", file=sys.stderr)
    raise DataError("no rows")


def _leave() -> None:
    Path("x.tmp").write_text("")


def _leave_with(code: int) -> None:
    raise SystemExit(code)


@pytest.mark.parametrize(
    ("reads", "kind"),
    [
        (_fail, "ZeroDivisionError in test_campaign.py:_fail"),
        (_run_out, "more memory asked for"),
        (_print_two, "a traceback on stderr"),
        (_leave, "left x.tmp"),
        (lambda: _leave_with(1), "0 error lines, and nothing last"),
        (lambda: _leave_with(120), "exit code 120"),
    ],
)
def test_a_fault_is_noticed_and_kept(reads: object, kind: str, tmp_path: Path) -> None:
    target = Target("it", _write, "x.json", damaged_json, (reads,))  # type: ignore[arg-type]
    (tmp_path / "work").mkdir()
    _write(tmp_path / "work")
    fault = run_case(Case(target, 3, 7), tmp_path / "work")
    assert fault is not None and fault.kind.startswith(kind)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["x.json"]
    kept = save(fault, tmp_path / "work", tmp_path / "kept")
    assert (kept / "x.json").read_bytes() != (tmp_path / "work" / "x.json").read_bytes()
    assert "--seed 7 --only it --from 3 --count 1" in (kept / "fault.txt").read_text()


def test_what_never_ends_is_stopped(tmp_path: Path) -> None:
    assert ended(_never_end, tmp_path, 0.05).fault == "no end within 0 s"


def test_whole_files_are_read(tmp_path: Path) -> None:
    """Damages of what was refused from the beginning would find nothing."""
    for target in QUICK:
        folder = tmp_path / target.name
        folder.mkdir()
        target.prepare(folder)
        for reads in target.reads:
            assert ended(reads, folder).code == 0, target.name


def test_a_damage_does_not_depend_on_those_before_it(tmp_path: Path) -> None:
    target = Target("it", _write, "x.json", damaged_json, ())
    _write(tmp_path)
    first = [damage(Case(target, index, 1), tmp_path) for index in range(200)]
    assert [damage(Case(target, index, 1), tmp_path) for index in range(200)] == first
    assert len(set(first)) > 100
