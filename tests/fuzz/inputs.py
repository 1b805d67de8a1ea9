"""Whole files of every kind that the commands read, small, and the same in every run."""

import io
import json
import random
import warnings
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from tests import profiles, proven_profiles
from tests.checkpoints import save_checkpoint
from tests.latency_tables import known_table
from tests.pictures import noise

ROWS = 6


def picture(index: int = 0, side: int = 24) -> bytes:
    """A small PNG file."""
    stream = io.BytesIO()
    noise(side, side, 10 + 20 * index, index).save(stream, "PNG")
    return stream.getvalue()


def pictures(folder: Path, side: int = 24) -> None:
    """0.png, 1.png, ..."""
    for index in range(ROWS):
        (folder / f"{index}.png").write_bytes(picture(index, side))


def rows() -> list[dict[str, Any]]:
    """Questions of two families, some with choices."""
    return [
        {
            "id": f"s{index}",
            "image": f"{index}.png",
            "question": f"w{20 + index} w9 <image 1>",
            "answer": "B" if index % 2 else "w3",
            "choices": ["w3", "w4", "w5"] if index % 2 else None,
            "category": "ab"[index % 2],
        }
        for index in range(ROWS)
    ]


def profile(folder: Path) -> None:
    """A profile with observations beside it, and another one."""
    proven_profiles.proven().save(folder / "p.json")
    profiles.observations(proven_profiles.proven()).save(folder / "p.observations.json")
    profiles.llava_like().save(folder / "other.json")


def curves(folder: Path) -> None:
    """The three curves of a profile as CSV."""
    found = profiles.qwen_like().curves
    for name, curve in (("visual", found.visual), ("text", found.text), ("joint", found.joint), ("kl", found.kl)):
        lines = [f"{layer},{value}" for layer, value in enumerate(curve.mean)]
        (folder / f"{name}.csv").write_text("layer,value\n" + "\n".join(lines) + "\n")


def data(write: Callable[[Path, list[dict[str, Any]]], None], folder: Path) -> None:
    """A data set in some format, with its images."""
    pictures(folder)
    write(folder, rows())


def json_lines(folder: Path, table: list[dict[str, Any]]) -> None:
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, table)))


def json_list(folder: Path, table: list[dict[str, Any]]) -> None:
    (folder / "d.json").write_text(json.dumps(table, indent=1))


def json_keyed(folder: Path, table: list[dict[str, Any]]) -> None:
    (folder / "d.json").write_text(json.dumps({row["id"]: row for row in table}))


def conversations(folder: Path, table: list[dict[str, Any]]) -> None:
    """LLaVA's training data, chats of messages and The Cauldron's turns."""
    listed: list[dict[str, Any]] = []
    for row in table:
        asked, answer = row["question"], row["answer"]
        turns = [{"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": answer}]
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked}]},
            {"role": "assistant", "content": answer},
        ]
        listed += [{"image": row["image"], "conversations": turns}, {"images": [row["image"]], "messages": messages}]
        listed.append({"images": [row["image"]], "texts": [{"user": asked, "assistant": answer}]})
    (folder / "d.json").write_text(json.dumps(listed))


def joined(folder: Path, table: list[dict[str, Any]]) -> None:
    """VQAv2's questions with the annotations beside them, and COCO's captions."""
    questions = [{"question_id": i, "image_id": row["image"], "question": "w9"} for i, row in enumerate(table)]
    answers = [{"question_id": i, "answers": [{"answer": "w3"}], "question_type": "w"} for i in range(len(table))]
    (folder / "v2_OpenEnded_questions.json").write_text(json.dumps({"questions": questions}))
    (folder / "v2_annotations.json").write_text(json.dumps({"annotations": answers}))
    images = [{"id": i, "file_name": row["image"]} for i, row in enumerate(table)]
    captions = [{"image_id": i, "caption": "w3 w4"} for i in range(len(table))]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))


def table(delimiter: str, folder: Path, listed: list[dict[str, Any]]) -> None:
    """CSV or TSV, with the choices in columns of their own."""
    lines = [["id", "image", "question", "answer", "A", "B"]]
    lines += [[row["id"], row["image"], row["question"], row["answer"], "w4", "w3"] for row in listed[1::2]]
    (folder / ("d.tsv" if delimiter == "\t" else "d.csv")).write_text("\n".join(map(delimiter.join, lines)))


def embedded(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their images inside, as the hub keeps them."""
    return [row | {"image": {"bytes": picture(i), "path": row["image"]}} for i, row in enumerate(listed)]


def parquet_file(folder: Path, listed: list[dict[str, Any]]) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(embedded(listed)), folder / "d.parquet", row_group_size=2)


def saved_data(folder: Path, listed: list[dict[str, Any]]) -> None:
    """A folder made by save_to_disk; its only Arrow file."""
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_list(embedded(listed)).save_to_disk(str(folder / "saved"))


def captions(folder: Path, listed: list[dict[str, Any]]) -> None:
    """A folder of images with a text beside each."""
    (folder / "pictures").mkdir()
    for index, row in enumerate(listed):
        (folder / "pictures" / f"{index}.png").write_bytes(picture(index))
        (folder / "pictures" / f"{index}.txt").write_text(row["question"])


def listing(folder: Path, listed: list[dict[str, Any]]) -> None:
    """A folder of images with a metadata file."""
    (folder / "pictures").mkdir()
    for index in range(len(listed)):
        (folder / "pictures" / f"{index}.png").write_bytes(picture(index))
    lines = [{"file_name": row["image"], "text": row["question"]} for row in listed]
    (folder / "pictures" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))


def diagrams(folder: Path, listed: list[dict[str, Any]]) -> None:
    """AI2D's folder of questions."""
    (folder / "questions").mkdir()
    pictures(folder / "questions")
    for index, row in enumerate(listed):
        asked = {row["question"]: {"questionId": row["id"], "answerTexts": ["w3", "w4"], "correctAnswer": 1}}
        content = {"imageName": row["image"], "questions": asked}
        (folder / "questions" / f"{index}.json").write_text(json.dumps(content))


def odd_parquet(data: bytes, rng: random.Random) -> bytes:
    """A Parquet file with columns of types that nobody expects there."""
    image: Any = embedded(rows())[0]["image"]
    cells: dict[str, Callable[[], Any]] = {
        "image": lambda: rng.choice(
            (image, image["bytes"], [image], {"bytes": None, "path": None}, {"path": "0.png"}, {"bytes": "x"}, 3, None)
        ),
        "question": lambda: rng.choice(("w9", b"\xff\xfe", 3, 1.5, None, ["w9"], {"a": "w9"}, Decimal("1.5"), True)),
        "answer": lambda: rng.choice(("w3", ["w3", None], [[1]], {"text": "w3"}, float("nan"), np.datetime64(0, "s"))),
        "choices": lambda: rng.choice((["w3", "w4"], "['w3', 'w4']", [], None, [None], {"a": 1}, [{"x": ["w3"]}])),
    }
    names = rng.sample(list(cells), rng.randint(0, 4))
    columns = []
    for name in names:
        value = cells[name]()
        values = [value if rng.random() < 0.9 else None for _ in range(rng.choice((0, 1, 6)))]
        columns.append(_typed(pyarrow.array(values), rng))
    length = min(map(len, columns), default=0)
    if rng.random() < 0.2 and columns:
        names.append(names[0])
        columns.append(columns[0])
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table([column[:length] for column in columns], names=names), stream)
    return stream.getvalue()


def _typed(array: Any, rng: random.Random) -> Any:
    """The column in another Arrow type of the same values, where there is one."""
    if rng.random() < 0.3 and pyarrow.types.is_string(array.type):
        return array.dictionary_encode()
    return array


def image_files() -> dict[str, bytes]:
    """One file of each format, in its less usual variants."""
    grey = np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
    colour = Image.fromarray(np.stack([grey, grey.T.reshape(20, 30), grey], -1))
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = colour.convert("P")
    frames = [palette, palette.rotate(90), palette]
    found: dict[str, bytes] = {}

    def add(name: str, image: Image.Image, form: str, **options: Any) -> None:
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save(stream, form, **options)
        found[name] = stream.getvalue()

    add("jpeg", colour, "JPEG", exif=exif.tobytes())
    add("jpeg-cmyk", colour.convert("CMYK"), "JPEG")
    add("jpeg-progressive", colour.convert("L"), "JPEG", progressive=True)
    add("png", colour, "PNG", exif=exif.tobytes())
    add("png-16", Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    add("png-alpha", colour.convert("RGBA"), "PNG")
    add("png-palette", palette, "PNG", transparency=3)
    add("png-bits", colour.convert("1"), "PNG")
    add("gif", frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=1)
    add("webp", colour, "WEBP", exif=exif.tobytes())
    add("webp-lossless", colour.convert("RGBA"), "WEBP", lossless=True, save_all=True, append_images=[colour])
    add("tiff", colour, "TIFF", compression="tiff_lzw")
    add("tiff-16", Image.fromarray(grey.astype(np.uint16)), "TIFF")
    add("tiff-float", Image.fromarray(grey.astype(np.float32)), "TIFF")
    add("bmp", palette, "BMP")
    add("ppm", colour, "PPM")
    add("avif", colour, "AVIF")
    return found


def model(family: str, folder: Path) -> None:
    """A tiny random checkpoint with data."""
    save_checkpoint(family, folder / "m")
    pictures(folder, 64)
    json_lines(folder, [row | {"question": "w20 w9"} for row in rows()])


def calibration_journal(folder: Path) -> None:
    """What an interrupted calibration leaves behind, with all that was measured."""
    from cli.common import load_quietly
    from probe import load_samples
    from probe.calibration.calibrate import Settings, calibrate_in_full

    model("llava", folder)
    loaded = load_quietly(str(folder / "m"), "auto", "cpu", False)
    settings = Settings(samples=4, max_new_tokens=2, entropy_k=5)
    kept, found = folder / "o.json.unfinished", load_samples(folder / "d.jsonl")
    calibrate_in_full(loaded.model, loaded.processor, found, settings, model_id="m", data="d.jsonl", journal=kept)


def evaluation_journal(folder: Path) -> None:
    """The same of an evaluation."""
    from cli.common import load_quietly
    from probe import load_samples
    from probe.data.draw import draw
    from probe.evaluation.ablation import ablate
    from tests.unit.probe.evaluation.test_ablation import tiny_profile

    model("llava", folder)
    loaded = load_quietly(str(folder / "m"), "auto", "cpu", False)
    plan = tiny_profile(loaded.model)
    plan.save(folder / "p.json")
    kept, found = folder / "o.json.unfinished", draw(load_samples(folder / "d.jsonl"), 4, 0)
    ablate(loaded.model, loaded.processor, found, plan, max_new_tokens=2, model_id="m", journal=kept)


def benchmark(folder: Path) -> None:
    """The record of a benchmark."""
    source = Path(__file__).parents[2] / "docs" / "benchmarks" / "tiny-qwen2.5-vl.json"
    (folder / "b.json").write_bytes(source.read_bytes())


def latency_table(folder: Path) -> None:
    """A latency table."""
    known_table().save(folder / "t.json")


def writer(write: Callable[[Path, list[dict[str, Any]]], None]) -> Callable[[Path], None]:
    return partial(data, write)
