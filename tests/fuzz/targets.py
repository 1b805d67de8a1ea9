"""What is damaged, and what reads it. A target is one file; its siblings stay whole."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.fuzz import inputs
from tests.fuzz.campaign import Target
from tests.fuzz.mutations import (
    Mutation,
    damaged_bytes,
    damaged_json,
    damaged_json_lines,
    damaged_safetensors,
    damaged_table,
)

Command = tuple[str, ...]

STAGES = ("stages", "--visual", "visual.csv", "--text", "text.csv", "--joint", "joint.csv", "--kl", "kl.csv")
GENERATE = ("generate", "--model", "m", "--image", "0.png", "--prompt", "w8 w9", "--max-new-tokens", "2")
SHORT = ("--model", "m", "--data", "d.jsonl", "--samples", "4", "--max-new-tokens", "2", "--output", "o.json")
CALIBRATE = ("calibrate", *SHORT, "--entropy-k", "5")
EVALUATE = ("evaluate", *SHORT, "--profile", "p.json")
DOCTOR = ("doctor", "--model", "m")


def read_all(place: str) -> None:
    """What calibrate does with data before it has a model: read the rows, and decode every image."""
    from probe.data.draw import draw_readable
    from probe.data.samples import data_fingerprint, load_samples

    drawn, _ = draw_readable(load_samples(place), 100, 0)
    data_fingerprint(drawn)


def read_benchmark() -> None:
    """Read a record that `bench` wrote."""
    from probe.bench.records import Benchmark

    Benchmark.load("b.json")


def read_latency_table() -> None:
    """Read a table that `bench --latency-table` wrote, and predict from it."""
    from halfv_core import Keep, Plan
    from halfv_core.latency import LatencyTable, latency_ratio

    table = LatencyTable.load("t.json")
    latency_ratio(table, Plan((Keep(layer=0, keep_ratio=0.5, selector="uniform"),)), visual=100, text=20)


def make_random() -> None:
    """Make a model with random weights, as `bench --random-weights` does."""
    from probe.bench import config_of, random_model

    random_model(config_of("m"))


def open_one() -> None:
    """Decode an image file."""
    from probe.data.images import open_image

    open_image("0.png")


def _data(
    name: str,
    write: Callable[[Path, list[dict[str, object]]], None],
    file: str,
    mutate: Mutation,
    place: str = "",
    count: int = 60,
) -> Target:
    """A data set; `place` is what --data gets, the file itself if it is empty."""
    place = place or file
    reads = (("doctor", "--data", place, "--json"), partial(read_all, place), ("doctor", "--data", place))
    return Target(f"data-{name}", inputs.writer(write), file, mutate, reads, count)


def _image(name: str, content: bytes) -> Target:
    def prepare(folder: Path) -> None:
        (folder / "0.png").write_bytes(content)

    return Target(f"image-{name}", prepare, "0.png", damaged_bytes, (open_one,), 40)


def _checkpoint(
    family: str, file: str, mutate: Mutation, *reads: Command | Callable[[], None], count: int = 25
) -> Target:
    prepare = partial(inputs.model, family)
    return Target(f"checkpoint-{family}-{file}", prepare, f"m/{file}", mutate, reads or (GENERATE,), count)


def damaged_template(data: bytes, rng: random.Random) -> bytes:
    """A chat template that is damaged, or that asks for too much; what never ends is not stopped (docs/limits.md)."""
    bad = (
        b"{% for i in range(10**9) %}x{% endfor %}",
        b"{{ messages | string * 3 }}",
        b"{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        b"{{ ''.__class__.__mro__ }}",
        b"{% include 'other' %}",
        b"{{ 1 / 0 }}",
    )
    if rng.random() < 0.3:
        middle = rng.randrange(len(data))
        return rng.choice((rng.choice(bad), data[:middle] + rng.choice(bad) + data[middle:]))
    return damaged_bytes(data, rng)


_PROFILE_READS = (
    ("plot", "p.json", "--output", "r.html"),
    ("export", "p.json"),
    ("compare", "p.json", "other.json"),
    ("plot", "p.json", "other.json", "--output", "r.html", "--export", "csv,json", "charts"),
    ("export", "p.json", "--format", "yaml"),
    ("compare", "other.json", "p.json", "--json"),
)
_LINES = damaged_json_lines
_FAMILIES = ("qwen2_5_vl", "llava", "llava_next", "idefics3", "gemma3")
_PARTS: tuple[tuple[str, Mutation], ...] = (
    ("generation_config.json", damaged_json),
    ("tokenizer.json", damaged_json),
    ("tokenizer_config.json", damaged_json),
    ("chat_template.jinja", damaged_template),
    ("model.safetensors", damaged_safetensors),
)

TARGETS: tuple[Target, ...] = (
    Target("profile", inputs.profile, "p.json", damaged_json, _PROFILE_READS, 240),
    Target("observations", inputs.profile, "p.observations.json", damaged_json, _PROFILE_READS[::3], 100),
    *(Target(f"curves-{n}", inputs.curves, f"{n}.csv", damaged_table, (STAGES,), 40) for n in ("visual", "text", "kl")),
    Target("benchmark", inputs.benchmark, "b.json", damaged_json, (read_benchmark,), 60),
    Target("latency-table", inputs.latency_table, "t.json", damaged_json, (read_latency_table,), 60),
    Target("journal-calibrate", inputs.calibration_journal, "o.json.unfinished", _LINES, (CALIBRATE,), 60),
    Target("journal-evaluate", inputs.evaluation_journal, "o.json.unfinished", _LINES, (EVALUATE,), 60),
    _data("json-lines", inputs.json_lines, "d.jsonl", damaged_json_lines, count=100),
    _data("json-list", inputs.json_list, "d.json", damaged_json, count=100),
    _data("json-keyed", inputs.json_keyed, "d.json", damaged_json),
    _data("conversations", inputs.conversations, "d.json", damaged_json, count=100),
    _data("questions", inputs.joined, "v2_OpenEnded_questions.json", damaged_json),
    _data("annotations", inputs.joined, "v2_annotations.json", damaged_json, "v2_OpenEnded_questions.json"),
    _data("captions", inputs.joined, "captions.json", damaged_json),
    _data("csv", partial(inputs.table, ","), "d.csv", damaged_table, count=100),
    _data("tsv", partial(inputs.table, "\t"), "d.tsv", damaged_table),
    _data("parquet", inputs.parquet_file, "d.parquet", damaged_bytes, count=100),
    _data("parquet-types", inputs.parquet_file, "d.parquet", inputs.odd_parquet, count=100),
    _data("saved-info", inputs.saved_data, "saved/dataset_info.json", damaged_json, "saved"),
    _data("saved-state", inputs.saved_data, "saved/state.json", damaged_json, "saved"),
    _data("saved-arrow", inputs.saved_data, "saved/data-00000-of-00001.arrow", damaged_bytes, "saved"),
    _data("folder-text", inputs.captions, "pictures/0.txt", damaged_table, "pictures"),
    _data("folder-listing", inputs.listing, "pictures/metadata.jsonl", damaged_json_lines, "pictures"),
    _data("diagrams", inputs.diagrams, "questions/0.json", damaged_json, "questions"),
    *(_image(name, content) for name, content in inputs.image_files().items()),
    *(_checkpoint(family, "config.json", damaged_json, GENERATE, make_random, count=40) for family in _FAMILIES),
    *(_checkpoint(family, "processor_config.json", damaged_json, count=40) for family in _FAMILIES[1:]),
    _checkpoint("qwen2_5_vl", "preprocessor_config.json", damaged_json, GENERATE, DOCTOR, count=60),
    *(_checkpoint("llava", file, mutate) for file, mutate in _PARTS),
    *(_checkpoint("qwen2_5_vl", file, mutate, GENERATE, DOCTOR) for file, mutate in _PARTS),
)
