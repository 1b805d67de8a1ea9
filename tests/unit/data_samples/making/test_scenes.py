"""The shipped scenes: rebuilt bit for bit, hashes and sets right, answers as a plain second derivation has them."""

import hashlib
import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import PIL
import pytest
from PIL import Image

from data_samples.making.generator.content import Bucket, Cell, Difficulty, Item, Scene, Text, draw_content, scenes
from data_samples.making.generator.drawing import SIZE
from data_samples.making.generator.questions import FAMILIES, ask
from data_samples.making.scenes import SHIPPED, Sample, build
from data_samples.making.training.samples import step_rng, training_scenes

SCENES = Path(__file__).parents[4] / "data_samples" / "scenes"
MANIFEST = json.loads((SCENES / "manifest.json").read_text(encoding="utf-8"))


def listing(name: str, folder: Path = SCENES) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


class Built(NamedTuple):
    """The scenes, drawn again."""

    folder: Path
    samples: dict[Bucket, list[Sample]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("scenes")
    return Built(folder, build(folder, seed=0))


@pytest.fixture
def rebuilt(built: Built) -> Path:
    return built.folder


def test_same_seed_rebuilds_every_picture_and_listing(rebuilt: Path) -> None:
    for name in MANIFEST["sha256"]:
        if name.endswith(".png"):
            assert pixels(rebuilt / name) == pixels(SCENES / name), name
        else:
            assert (rebuilt / name).read_bytes() == (SCENES / name).read_bytes(), name


@pytest.mark.skipif(
    PIL.__version__ != MANIFEST["pillow"], reason="another Pillow may compress the same pixels otherwise"
)
def test_same_seed_and_pillow_rebuild_every_byte(rebuilt: Path) -> None:
    assert (rebuilt / "manifest.json").read_bytes() == (SCENES / "manifest.json").read_bytes()


def test_manifest_hashes_every_file() -> None:
    files = {str(p.relative_to(SCENES)) for p in SCENES.rglob("*") if p.suffix in (".png", ".jsonl")}
    assert files == set(MANIFEST["sha256"])
    for name, digest in MANIFEST["sha256"].items():
        assert hashlib.sha256((SCENES / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(("name", "size"), [("calibration", 400), ("heldout", 300)])
def test_families_are_balanced_and_as_listed(name: str, size: int) -> None:
    counts = Counter(row["family"] for row in listing(name))
    assert counts == MANIFEST["counts"][name]
    assert sum(counts.values()) == size
    assert set(counts) == set(SHIPPED)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_no_scene_is_shipped_twice_and_none_is_of_another_set(built: Built) -> None:
    """Calibration, certification and test need different scenes, and all of them others than training."""
    for bucket, samples in built.samples.items():
        assert [sample.id for sample in samples] == [row["id"] for row in listing(bucket)]
        assert {sample.scene.bucket for sample in samples} == {bucket}
    shipped = [sample.scene for samples in built.samples.values() for sample in samples]
    assert len(set(shipped)) == len(shipped) == 700


def test_more_calibration_scenes_left_the_first_100_as_they_were() -> None:
    """The digest is of the listing and the pixels when there were 100, on which the first profiles were calibrated."""
    digest = hashlib.sha256()
    for line in (SCENES / "calibration.jsonl").read_bytes().splitlines(keepends=True)[:100]:
        digest.update(line + pixels(SCENES / json.loads(line)["image"]))
    assert digest.hexdigest() == "6a6c263273e80535b9054729e28be9c05a9ce3512f46c0577f1e6e04a43ace3a"


def test_pictures_are_small_rgb() -> None:
    assert sum(path.stat().st_size for path in SCENES.rglob("*")) < 5e6
    for row in listing("heldout"):
        with Image.open(SCENES / row["image"]) as image:
            assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))


def test_every_bucket_sampler_stays_in_its_bucket() -> None:
    for bucket in ("train", "calibration", "heldout"):
        drawn = islice(scenes(Random(1), Difficulty(), bucket), 50)
        assert {scene.bucket for scene in drawn} == {bucket}
    batch = training_scenes(step_rng(0, "answer", 7), Difficulty(objects=(2, 6)), 200)
    assert {scene.bucket for scene in batch} == {"train"}


def test_bucket_depends_on_content_only_and_never_changes() -> None:
    scene = Scene((Item(Cell(0, 1), "red", "star"), Item(Cell(2, 2), "blue", "cross")), Text(Cell(1, 1), "4K"))
    assert scene.bucket == "train"
    shares = Counter(draw_content(Random(seed), Difficulty()).bucket for seed in range(2000))
    assert shares["train"] == pytest.approx(1800, abs=60)
    assert shares["heldout"] == pytest.approx(100, abs=45)


def obvious_answer(question: str, scene: Scene) -> str | None:
    """Read the question with patterns and look at every item: slow, separate from the generator's own reasoning."""
    items = {(i.color, i.shape): (i.cell.row, i.cell.column) for i in scene.items}
    rows, columns = ("top", "middle", "bottom"), ("left", "center", "right")

    if m := re.fullmatch(r"Is there an? (.+)\?", question):
        return "yes" if any(set(m[1].split()) - {"object"} <= set(pair) for pair in items) else "no"
    if m := re.fullmatch(r"What (color|shape) is at the (\w+) (\w+)\?", question):
        (pair,) = [p for p, (r, c) in items.items() if (rows[r], columns[c]) == (m[2], m[3])]
        return pair[0 if m[1] == "color" else 1]
    if m := re.fullmatch(r"What (color|shape) is the (\w+)(?: object)?\?", question):
        (pair,) = [p for p in items if m[2] in p]
        return pair[0 if m[1] == "color" else 1]
    if m := re.fullmatch(r"Where is the (.+)\?", question):
        (pair,) = [p for p in items if set(m[1].split()) - {"object"} <= set(p)]
        return f"{rows[items[pair][0]]} {columns[items[pair][1]]}"
    if m := re.fullmatch(r"How many (.+) are there\?", question):
        if m[1] == "objects":
            return str(len(items))
        singular = {"crosses": "cross"}.get(m[1], m[1].removesuffix(" objects").removesuffix("s"))
        return str(sum(singular in pair for pair in items))
    if m := re.fullmatch(r"Is the (\w+ \w+) (above|below|left of|right of) the (\w+ \w+)\?", question):
        (row, column), (other_row, other_column) = (items[tuple(m[k].split())] for k in (1, 3))  # type: ignore[index]
        holds = {
            "above": row < other_row,
            "below": row > other_row,
            "left of": column < other_column,
            "right of": column > other_column,
        }
        return "yes" if holds[m[2]] else "no"
    if question == "What does the text say?" and scene.text:
        return " ".join(scene.text.characters).lower()
    return None


@pytest.mark.parametrize("family", SHIPPED)
def test_answers_agree_with_an_obvious_second_derivation(family: str) -> None:
    rng, checked = Random(5), 0
    for scene in islice(scenes(rng, Difficulty(), "train"), 300):
        question = ask(family, scene, rng)
        if question:
            assert obvious_answer(question.text, scene) == question.answer, (question, scene)
            checked += 1
    assert checked > 100


def test_every_family_has_several_answers() -> None:
    rng = Random(9)
    for family in set(FAMILIES) - {"description"}:
        asked = [ask(family, scene, rng) for scene in islice(scenes(rng, Difficulty(), "train"), 200)]
        most, count = Counter(question.answer for question in asked if question).most_common(1)[0]
        assert count < 0.65 * sum(question is not None for question in asked), (family, most)
