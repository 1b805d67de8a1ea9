"""Every option of every command with values of the wrong kind, range or combination: one line, before the work.

The options are those that the commands declare, so a new one is tried without a change here. A bad value has to be
refused before data are read and a model is loaded, or be named in `FINE`.
"""

import inspect
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple

import pytest
from typer.models import ArgumentInfo, CommandInfo
from typer.testing import CliRunner, Result

from cli.data_options import ReadingOptions
from cli.main import app
from halfv_core.errors import printable
from halfv_core.failures import failure_of
from halfv_core.models import bundled_models
from probe.data import readers
from tests.fuzz import inputs
from tests.fuzz.campaign import time_limit

MODEL = "tiny-llava"
READING = {"data", *ReadingOptions.__dataclass_fields__}
"""Options about data, which doctor reads without a model."""
BASE: dict[str, list[str]] = {
    "demo": ["--output", "demo"],
    "calibrate": ["--model", MODEL, "--data", "d.jsonl", "--output", "o.json"],
    "stages": ["--visual", "visual.csv"],
    "plot": ["p.json", "--output", "r.html"],
    "compare": ["p.json", "p.json"],
    "export": ["p.json"],
    "publish": ["p.json", "me/shared"],
    "generate": ["--model", MODEL, "--image", "i.png", "--prompt", "x"],
    "serve": [MODEL, "--port", "0"],
    "evaluate": ["--model", MODEL, "--profile", "p.json", "--data", "d.jsonl", "--output", "o.json"],
    "compare-methods": ["--model", MODEL, "--data", "d.jsonl", "--methods", "random", "--output", "o.json"],
    "analyze": ["--model", MODEL, "--data", "d.jsonl", "--probes", "shares", "--output", "o.json"],
    "bench": ["--model", MODEL, "--output", "o.json"],
    "estimate": ["--model", "qwen2.5-vl-7b", "--gpus", "8x80GB"],
    "models": [],
    "methods": [],
    "doctor": ["--data", "d.jsonl"],
}
"""Arguments with which each command runs."""

ENDLESS = "/dev/zero"
VALUES: dict[Any, tuple[str, ...]] = {
    int: ("", "x", "-1", "0", "nan", "1.5", "\u0663 ", "1" + 30 * "0"),
    float: ("", "x", "-1", "0", "nan", "inf", "1.5", "1e400"),
    str: ("", "no such", "\x1b[31m\n", "\udcff", "a" * 5000, "a,,b", "="),
    Path: ("", "closed", "p.json/x", ENDLESS, "x" * 300, "\udcff/\n", "text.txt"),
    bool: (),
}

HUGE = VALUES[int][-1]
FINE: dict[str, set[str]] = {
    "--seed": {"0", HUGE},
    "--default-seed": {"0"},
    "--samples": {HUGE},
    "--questions": {HUGE},
    "--kl-samples": {HUGE},
    "--examples": {"0", HUGE},
    "--held-out": {"0"},
    "--target-flops": {"1.5"},
    "--target-kv": {"1.5"},
    "--tflops": {"1.5"},
    "--tokens-per-second": {"1.5"},
    "--certify": {"0", HUGE},
    "--tune-samples": {HUGE},
    "--tune-seed": {"0", HUGE},
    "--tune-on": set(VALUES[str]),
    "--instruction": set(VALUES[str]),
    "--prompt": set(VALUES[str]),
    "--images": {"", "closed"},
    "--grace": {"0"},
    "--port": {"0"},
    "--subset": {""},
    "--split": {""},
    "--output": {"", "closed", ENDLESS, "text.txt", "\udcff/\n"},
    "--report": {ENDLESS, "text.txt", "\udcff/\n"},
    "--export": {"", "closed", "\udcff/\n"},
}
"""Option -> values that look bad and are not: devices and new folders may be written to, texts may be anything, and
further data are read after the first.
"""


def _name(command: CommandInfo) -> str:
    """As it is typed."""
    assert command.callback is not None
    return command.name or command.callback.__name__.replace("_", "-")


class Reached(BaseException):
    """The command went on to read data, to load a model or to draw a page."""


class Given(NamedTuple):
    """One option or argument of a command, and its type without list, None and annotations."""

    command: str
    name: str
    kind: Any
    takes: int
    """Number of values."""
    parameter: str
    """The function's parameter."""
    place: int
    """Of an argument among the command's arguments."""


def declared() -> Iterator[Given]:
    """All options and arguments; one that several commands share is tried in the first of them."""
    seen = set()
    for registered in app.registered_commands:
        assert registered.callback is not None
        arguments = 0
        for name, parameter in inspect.signature(registered.callback).parameters.items():
            annotation: Any = parameter.annotation
            if typing.get_origin(annotation) is not typing.Annotated:
                continue  # the context
            annotation, info = typing.get_args(annotation)[:2]
            place = arguments
            arguments += isinstance(info, ArgumentInfo)
            if id(info) in seen:
                continue
            seen.add(id(info))
            long = [text for text in info.param_decls or () if text.startswith("--")]
            option = "" if isinstance(info, ArgumentInfo) else (long or [f"--{name.replace('_', '-')}"])[0]
            command = "doctor" if option.replace("-", "_")[2:] in READING else _name(registered)
            for kind, takes in _kinds(annotation):
                yield Given(command, option, kind, takes, name, place)


def _kinds(annotation: Any) -> list[tuple[Any, int]]:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, UnionType):
        return _kinds(next(part for part in parts if part is not NoneType))
    if origin is list:
        return _kinds(parts[0])
    if origin is tuple:
        return [(part, len(parts)) for part in parts]
    if origin is typing.Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return [(str, 1)]
    return [(annotation, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the commands of `BASE` read."""
    root = tmp_path
    inputs.curves(root)
    inputs.data(inputs.json_lines, root)
    (root / "i.png").write_bytes(inputs.picture())
    (root / "text.txt").write_text("text\n")
    (root / "closed").mkdir()
    shipped = bundled_models()[MODEL].parents[1] / "profiles" / f"{MODEL}.json"
    (root / "p.json").write_bytes(shipped.read_bytes())
    return root


@pytest.fixture(autouse=True)
def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop where the work would begin: a model, a page, the hub, or, but for doctor, data."""
    opens = readers.open_table

    def reached(*_: object, **__: object) -> None:
        raise Reached

    def opened(source: Any) -> Any:
        return opens(source) if "doctor" in running else reached()

    monkeypatch.chdir(folder)
    monkeypatch.setattr("probe.data.samples.open_table", opened)
    works = ("halfv_core.models._read_model", "probe.bench.random_model", "probe.report.write_report")
    for name in (*works, "halfv_core.hub.publish"):
        monkeypatch.setattr(name, reached)


running: list[str] = []


def run(command: str, *arguments: str) -> Result | None:
    """Run a command up to where the work begins; None if it came there."""
    running[:] = [command]
    try:
        with time_limit(20):
            return CliRunner().invoke(app, [command, *arguments])
    except Reached:
        return None


def said(result: Result) -> str:
    """The one line of a command that ended with exit code 2."""
    failure = failure_of(result.exception) if isinstance(result.exception, Exception) else None
    assert failure is not None, result.exc_info
    assert failure.exit_code == 2 and "\n" not in str(failure)
    return str(failure)


@pytest.mark.parametrize("command", [_name(one) for one in app.registered_commands if one.callback])
def test_the_arguments_that_bad_values_are_added_to_are_right(command: str) -> None:
    result = run(command, *BASE[command])
    assert result is None or result.exit_code == 0, result.exception


@pytest.mark.parametrize(
    "given", list(declared()), ids=lambda given: f"{given.command} {given.name} {given.kind.__name__}"
)
def test_a_bad_value_is_one_line_before_the_work(given: Given) -> None:
    for value in VALUES[given.kind]:
        base = BASE[given.command]
        if given.name:
            values = ["csv", value] if given.kind is Path and given.takes > 1 else [value, "x"][: given.takes]
            result = run(given.command, *base, given.name, *values)
        else:
            first = next((at for at, word in enumerate(base) if word.startswith("-")), len(base))
            words = [value if place == given.place else word for place, word in enumerate(base[:first])]
            result = run(given.command, *base[first:], "--", *words)
        if result is None or result.exit_code == 0:
            assert value in FINE.get(given.name, ()), f"{value!r} was taken"
            continue
        line = said(result)
        assert names(line, given, value), line


def names(line: str, given: Given, value: str) -> bool:
    """Whether a message names the option, what it is about, or the value."""
    shown = str(Path(value)) if given.kind is Path else value
    words = [word[:4] for word in given.name.strip("-").split("-")] if given.name else [given.parameter[:4]]
    return any(word in line for word in (*words, printable(shown)[:2]) if word)


@pytest.mark.parametrize(
    ("command", "more", "words"),
    [
        ("bench", ["--layers", "2"], "a checkpoint is run whole; add --random-weights"),
        ("bench", ["--vision-layers", "2"], "a checkpoint is run whole; add --random-weights"),
        ("bench", ["--profile", "p.json", "--keep", "2=0.5"], "two plans were given; leave out --profile, or --keep"),
        ("bench", ["--keep", "2=0.5", "--keep", "2=0.25"], "two keeps at one layer"),
        ("bench", ["--keep", "2=0.5", "--keep", "5=0.75"], "what is kept grows with depth"),
        ("bench", ["--freeze", "2-5", "--freeze", "5"], "a layer is frozen twice"),
        ("bench", ["--freeze", f"1-{HUGE}"], "bad Freeze: layers.10000: Input should be less than or equal to 10000"),
        ("bench", ["--keep", f"{HUGE}=0.5"], "bad Keep: layer: Input should be less than or equal to 10000"),
        ("bench", ["--clock", "sun"], "unknown clock; got sun"),
        ("calibrate", ["--target-retention", "0.9", "--target-flops", "2"], "exclude each other"),
        ("calibrate", ["--selector", "uniform", "--option", "anchor_share=0.1"], "anchor_share"),
        ("calibrate", ["--option", "anchor_share=many"], "anchor_share"),
        ("calibrate", ["--option", "anchor_share=[1]"], "anchor_share"),
        ("calibrate", ["--keep-ratio", "0.5", "--keep-ratio", "1.5"], "bad --keep-ratio"),
        ("calibrate", ["--target-kv", "2", "--target-flops", "2"], "exclude each other"),
        ("calibrate", ["--target-latency", "2"], "a target for latency needs a latency table; `halfv-probe bench"),
        ("calibrate", ["--target-latency", "2", "--latency-table", "gone.json"], "gone.json"),
        ("calibrate", ["--target-latency", "2", "--latency-table", "text.txt"], "latency table text.txt"),
        ("calibrate", ["--target-latency", "2", "--latency-table", "p.json"], "latency table p.json"),
        ("calibrate", ["--method", "fastv", "--target-kv", "2"], "a method's plan is set by FLOPs"),
        ("calibrate", ["--certify", "-1"], "bad --certify"),
        ("calibrate", ["--seed", "-1"], "bad --seed"),
        ("calibrate", ["--budget", "5 parsecs"], "bad budget; got '5 parsecs'"),
        ("calibrate", ["--dtype", "float8"], "unknown dtype; got float8"),
        ("calibrate", ["--device", "banana"], "unknown device; got banana"),
        ("calibrate", ["--device", "cpu", "--device-map", "auto"], "a model is placed in one way"),
        ("calibrate", ["--device-map", "text.txt"], "cannot read the device map text.txt"),
        ("calibrate", ["--tensor-parallel", "2"], "type: torchrun --nproc-per-node 2 -m cli.main COMMAND"),
        ("calibrate", ["--load-in", "4bit", "--tensor-parallel", "2"], "cannot be split over processes"),
        ("doctor", ["--subset", "x"], "d.jsonl has no subsets; got x; leave out --subset"),
        ("doctor", ["--split", "x"], "has no splits; got x; leave out --split"),
        ("doctor", ["--column", "image=none"], "none"),
        ("doctor", ["--column", "colour=id"], "colour"),
        ("doctor", ["--column", "image=id,", "--column", "image=id"], "image"),
        ("doctor", ["--images", "text.txt"], "--images is not a folder; got text.txt"),
        ("doctor", ["--model", "tiny-llava", "--dtype", "x", "--data", "nothing"], "unknown dtype; got x"),
        ("evaluate", ["--variant", "all"], "unknown variant; got all"),
        ("evaluate", ["--grading", "harsh"], "unknown grading; got harsh"),
        ("export", ["--json", "--format", "yaml"], "--json and --format yaml contradict each other"),
        ("generate", ["--compare"], "--compare has nothing to compare with; add --profile"),
        ("generate", ["--image", "text.txt"], "text.txt is not an image that can be read"),
        ("plot", ["--export", "csv,,png", "charts"], "unknown --export format; got ''"),
        ("plot", ["--export", "csv", "text.txt"], "cannot write text.txt"),
        ("serve", ["--chat-template-kwargs", "[]"], "--chat-template-kwargs is no JSON object; got []; expected as"),
        (
            "serve",
            ["--continuous-batching"],
            "continuous batching has a cache of its own, and takes no images; leave it",
        ),
        ("serve", ["--target-flops", "2"], "--target-flops chooses among a profile's plans; add --profile"),
        ("serve", ["--profile", "p.json", "--target-flops", "90"], "judged that saves so much; got --target-flops 90"),
        ("serve", ["--profile", "text.txt"], "profile text.txt is not whole JSON"),
        ("serve", ["--host", "192.0.2.1"], "cannot serve at this address"),
        ("stages", ["--kl", "text.txt"], "curve text.txt line 1: no column to read"),
    ],
)
def test_options_that_do_not_go_together(command: str, more: list[str], words: str) -> None:
    result = run(command, *BASE[command], *more)
    assert result is not None, "it was taken"
    assert words in said(result)
