"""The photo set: files, manifest and licences complete, questions well formed and balanced."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

PHOTOS = Path(__file__).parents[3] / "data_samples" / "photos"
FAMILIES = {"existence", "attribute", "counting", "relation", "reading", "description"}
KINDS = {"photograph", "chart", "document", "diagram", "screenshot", "sign"}
MANIFEST: dict[str, list[dict[str, Any]]] = json.loads((PHOTOS / "manifest.json").read_text(encoding="utf-8"))
ENTRIES = MANIFEST["images"] + MANIFEST["video"]


def listing(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PHOTOS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def files(sample: dict[str, Any]) -> list[str]:
    return sample.get("images") or sample.get("video") or [sample["image"]]


SAMPLES = listing("photos")
VIDEOS = listing("videos")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_file_is_as_the_manifest_says(entry: dict[str, Any]) -> None:
    path = PHOTOS / entry["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert max(image.size) <= (320 if entry in MANIFEST["video"] else 1024)
        assert not image.getexif()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_origin_is_stated(entry: dict[str, Any]) -> None:
    assert all(entry[key] for key in ("title", "source", "author", "licence", "changes"))
    assert entry["kind"] in KINDS
    assert entry["source"].startswith(("debian:", "pypi:", "npm:", "data_samples/making/drawn_pages"))
    assert not any(word in entry["licence"].upper() for word in ("-NC", "-ND"))


def test_listings_manifest_and_folder_name_the_same_files() -> None:
    for samples, entries, folder in ((SAMPLES, MANIFEST["images"], "images"), (VIDEOS, MANIFEST["video"], "frames")):
        named = [entry["file"] for entry in entries]
        assert len(named) == len(set(named))
        assert {file for sample in samples for file in files(sample)} == set(named)
        there = {path.relative_to(PHOTOS).as_posix() for path in (PHOTOS / folder).rglob("*") if path.is_file()}
        assert there == set(named)


def test_images_differ() -> None:
    hashes = [entry["sha256"] for entry in ENTRIES]
    assert len(set(hashes)) == len(hashes)


def test_set_is_large_and_every_family_is_in_it() -> None:
    families = Counter(sample["family"] for sample in SAMPLES)
    assert len(SAMPLES) >= 100
    assert len(MANIFEST["images"]) >= 50
    assert set(families) == FAMILIES
    assert min(families.values()) >= 12
    assert {entry["kind"] for entry in MANIFEST["images"]} == KINDS


def test_leading_part_is_balanced() -> None:
    assert {sample["family"] for sample in SAMPLES[: len(FAMILIES)]} == FAMILIES
    leading = Counter(sample["family"] for sample in SAMPLES[:60])
    assert max(leading.values()) - min(leading.values()) <= 1


def test_samples_are_well_formed() -> None:
    assert len({sample["id"] for sample in SAMPLES + VIDEOS}) == len(SAMPLES + VIDEOS)
    for sample in SAMPLES + VIDEOS:
        assert len({"image", "images", "video"} & set(sample)) == 1
        assert sample["question"].strip() and sample["answer"].strip()
        if "answers" in sample:
            assert "choices" not in sample
            assert sample["answers"][0] == sample["answer"]
            assert len(set(sample["answers"])) == len(sample["answers"]) > 1


def test_choices_are_distinct_and_letters_balanced() -> None:
    chosen = [sample for sample in SAMPLES + VIDEOS if "choices" in sample]
    for sample in chosen:
        assert len(sample["choices"]) == len(set(sample["choices"])) == 4
        assert sample["answer"] in ("A", "B", "C", "D")
    letters = Counter(sample["answer"] for sample in chosen)
    assert len(chosen) >= 0.2 * len(SAMPLES)
    assert max(letters.values()) <= 0.4 * len(chosen)


def test_half_of_the_existence_questions_are_answered_yes() -> None:
    answers = Counter(sample["answer"] for sample in SAMPLES if sample["family"] == "existence")
    assert set(answers) == {"yes", "no"}
    assert abs(answers["yes"] - answers["no"]) <= 0.2 * answers.total()


def test_some_samples_compare_two_images() -> None:
    pairs = [files(sample) for sample in SAMPLES if "images" in sample]
    assert len(pairs) >= 5
    assert all(len(set(pair)) == 2 for pair in pairs)


def test_two_frame_sequences() -> None:
    sequences = Counter(tuple(files(sample)) for sample in VIDEOS)
    assert len(sequences) == 2
    assert all(len(set(frames)) == 8 for frames in sequences)
    assert all(sample["family"] == "video" for sample in VIDEOS)


def test_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in PHOTOS.rglob("*") if path.is_file()) < 25_000_000
