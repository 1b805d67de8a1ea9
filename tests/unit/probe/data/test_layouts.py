"""Layouts of public data sets: a small made-up file in each, read without naming a column."""

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from halfv_core.errors import DataError
from halfv_core.interleaving import IMAGE_PLACE
from probe.data.fields import ASKED_IN_IMAGE, DESCRIBE
from probe.data.samples import Samples, load_samples

COLOURS = ("navy", "olive", "maroon", "teal", "gray", "lime", "white")


def encoded(colour: str) -> bytes:
    """A small PNG of one colour, of a size of its own."""
    stream = io.BytesIO()
    Image.new("RGB", (40 + COLOURS.index(colour), 30), colour).save(stream, "PNG")
    return stream.getvalue()


def struct(colour: str, path: str | None = None) -> dict[str, Any]:
    return {"bytes": encoded(colour), "path": path}


def text64(colour: str) -> str:
    return base64.b64encode(encoded(colour) + bytes(200)).decode()  # as long as real images are


Asked = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Question, choices, answers, and the colours of the images in order."""


class Layout(NamedTuple):
    """A file or folder as a data set has it, and what is read from it."""

    name: str
    content: Any
    """Rows, or text."""
    expected: list[Asked]
    images: dict[str, str] = {}
    """File -> colour, in the folder that --images names."""
    beside: dict[str, Any] = {}
    """Further files."""


def ask(question: str, *answers: str, choices: tuple[str, ...] = (), shown: tuple[str, ...] = ("navy",)) -> Asked:
    return question, choices, answers, shown


def statement(text: str) -> str:
    return f"{text}\nIs this statement true? Answer yes or no."


NAVY, OLIVE = struct("navy"), struct("olive")
VOTES = [{"answer": "net", "answer_confidence": "yes", "answer_id": 1}] * 6 + [
    {"answer": "mesh", "answer_confidence": "maybe", "answer_id": 7}
]
FOUR = ("hare", "fox", "owl", "hawk")
LETTERS = dict(zip("ABCD", FOUR, strict=True))
MMBENCH = {
    "hint": "nan",
    "category": "place",
    "source": "made up",
    "l2-category": "x",
    "comment": "nan",
    "split": "dev",
}
LLAVA = [
    {"from": "human", "value": "What is it?\n<image>"},
    {"from": "gpt", "value": "A sheet."},
    {"from": "human", "value": "Is it round?"},
    {"from": "gpt", "value": "No."},
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "<image>What is it?"},
    {"role": "assistant", "content": "A sheet."},
]
MMMU = {
    **{"explanation": "", "img_type": "['Tables']", "topic_difficulty": "Easy", "subfield": "x"},
    **{f"image_{number}": None for number in range(3, 8)},
}

LAYOUTS: dict[str, Layout] = {
    "VQAv2, official": Layout(
        "v2_OpenEnded_mscoco_val2014_questions.json",
        {
            "info": {},
            "data_subtype": "val2014",
            "questions": [{"image_id": 42, "question": "What is this?", "question_id": 42000}],
        },
        [ask("What is this?", "net", "mesh")],
        {"COCO_val2014_000000000042.jpg": "navy"},
        {
            "v2_mscoco_val2014_annotations.json": {
                "annotations": [
                    {
                        **{"question_type": "what is this", "multiple_choice_answer": "net", "answers": VOTES},
                        **{"image_id": 42, "answer_type": "other", "question_id": 42000},
                    }
                ]
            }
        },
    ),
    "VQAv2, hub": Layout(
        "validation-00000-of-00001.parquet",
        [
            {
                **{"question_type": "what", "multiple_choice_answer": "net", "answers": VOTES, "image_id": 42},
                **{"answer_type": "other", "question_id": 7, "question": "What is this?", "image": NAVY},
            }
        ],
        [ask("What is this?", "net", "mesh")],
    ),
    "GQA, official": Layout(
        "testdev_balanced_questions.json",
        {
            "2001": {
                **{"question": "Is it dark?", "imageId": "n90001", "answer": "no", "fullAnswer": "No.", "entailed": []},
                **{"isBalanced": True, "types": {"structural": "verify"}, "groups": {"global": None}},
            }
        },
        [ask("Is it dark?", "no")],
        {"n90001.jpg": "navy"},
    ),
    "TextVQA, official": Layout(
        "TextVQA_0.5.1_val.json",
        {
            "dataset_name": "textvqa",
            "data": [
                {
                    **{"question": "what brand?", "image_id": "00aa11bb22cc33dd", "image_classes": ["Tin"]},
                    **{"flickr_original_url": "https://x.org/o.jpg", "answers": ["acme"] * 6 + ["acne"] * 4},
                    **{"flickr_300k_url": "https://x.org/z.jpg", "question_id": 3, "set_name": "val"},
                }
            ],
        },
        [ask("what brand?", "acme", "acne")],
        {"00aa11bb22cc33dd.jpg": "navy"},
    ),
    "VizWiz, official": Layout(
        "val.json",
        [
            {
                **{"image": "VizWiz_val_00000000.jpg", "question": "Which?", "answer_type": "other", "answerable": 1},
                "answers": VOTES,
            }
        ],
        [ask("Which?", "net", "mesh")],
        {"VizWiz_val_00000000.jpg": "navy"},
    ),
    "DocVQA, official": Layout(
        "val_v1.0.json",
        {
            "dataset_name": "docvqa",
            "dataset_split": "val",
            "data": [
                {
                    **{"questionId": 1, "question": "Total?", "question_types": ["form"], "answers": ["3", "3.00"]},
                    **{"image": "documents/a_1.png", "docId": 1, "ucsf_document_id": "a", "data_split": "val"},
                }
            ],
        },
        [ask("Total?", "3", "3.00")],
        {"documents/a_1.png": "navy"},
    ),
    "InfographicVQA, official": Layout(
        "infographicsVQA_val_v1.0.json",
        {
            "data": [
                {
                    **{"questionId": 1, "question": "How many?", "image_local_name": "7.jpeg", "answers": ["9"]},
                    **{"image_url": "https://x.org/7.jpeg", "ocr_output_file": "7.json", "data_split": "val"},
                }
            ]
        },
        [ask("How many?", "9")],
        {"7.jpeg": "navy"},
    ),
    "ChartQA, official": Layout(
        "test_human.json",
        [{"imgname": "41.png", "query": "How many bars?", "label": "14"}],
        [ask("How many bars?", "14")],
        {"41.png": "navy"},
    ),
    "ChartQA, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"image": NAVY, "query": "How many bars?", "label": ["14"], "human_or_machine": 0}],
        [ask("How many bars?", "14")],
    ),
    "AI2D, hub": Layout(
        "test-00000-of-00001.parquet",
        [
            {"question": "Who eats grass?", "options": list(FOUR), "answer": "0", "image": NAVY},
            {"question": "How many?", "options": ["1", "2", "3", "4"], "answer": "2", "image": NAVY},
        ],
        [ask("Who eats grass?", "A", choices=FOUR), ask("How many?", "C", choices=("1", "2", "3", "4"))],
    ),
    "ScienceQA, official": Layout(
        "problems.json",
        {
            "1": {
                **{"question": "Who?", "choices": list(FOUR), "answer": 0, "hint": "", "image": "image.png"},
                **{"task": "closed choice", "subject": "x", "category": "Animals", "split": "test", "solution": "s"},
            },
            "2": {"question": "Why?", "choices": ["a", "b"], "answer": 1, "image": "image.png", "split": "train"},
        },
        [ask("Who?", "A", choices=FOUR)],
        {"test/1/image.png": "navy", "train/2/image.png": "olive"},
    ),
    "ScienceQA, hub": Layout(
        "test-00000-of-00001.parquet",
        [
            {
                **{"image": NAVY, "question": "Who?", "choices": list(FOUR), "answer": 3, "hint": "Look up."},
                **{"task": "closed choice", "category": "Animals", "lecture": "", "solution": "It flies."},
            }
        ],
        [ask("Who?", "D", choices=FOUR)],
    ),
    "MMMU, hub": Layout(
        "validation-00000-of-00001.parquet",
        [
            {
                **{"id": "validation_Art_1", "question": "Compare <image 2> with <image 1>.", **MMMU, "answer": "B"},
                **{"options": "['same', 'other']", "image_1": NAVY, "image_2": OLIVE},
                "question_type": "multiple-choice",
            },
            {
                **{"id": "validation_Art_2", "question": "<image 1> How many?", "options": "[]", **MMMU, "answer": "4"},
                **{"image_1": NAVY, "image_2": None, "question_type": "open"},
            },
        ],
        [
            ask(
                f"Compare {IMAGE_PLACE}image 2 with {IMAGE_PLACE}image 1.",
                *("B",),
                choices=("same", "other"),
                shown=("olive", "navy"),
            ),
            ask("image 1 How many?", "4"),
        ],
    ),
    "MMMU-Pro, vision": Layout(
        "test-00000-of-00001.parquet",
        [{"id": "a", "image": NAVY, "options": str(list(FOUR)), "answer": "C", "subject": "Art"}],
        [ask(ASKED_IN_IMAGE, "C", choices=FOUR)],
    ),
    "MMBench, TSV": Layout(
        "mmbench_dev_en.tsv",
        [
            {"index": 1, "question": "Who hops?", **LETTERS, "answer": "A", **MMBENCH, "image": text64("navy")},
            {"index": 1000001, "question": "Who flies?", **LETTERS, "answer": "C", **MMBENCH, "image": "1"},
        ],
        [ask("Who hops?", "A", choices=FOUR), ask("Who flies?", "C", choices=FOUR)],
    ),
    "MMBench in Chinese, TSV": Layout(
        "mmbench_dev_cn.tsv",
        [
            {
                **{"index": 1, "question": "图中有什么？", "A": "猫", "B": "狗", "C": "nan", "D": "nan", "answer": "B"},
                **{**MMBENCH, "image": text64("navy")},
            }
        ],
        [ask("图中有什么？", "B", choices=("猫", "狗"))],
    ),
    "MME, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"question_id": "a/1.png", "image": NAVY, "question": "A cup?", "answer": "Yes", "category": "existence"}],
        [ask("A cup?", "Yes")],
    ),
    "POPE, official": Layout(
        "coco_pope_random.json",
        '{"question_id": 1, "image": "COCO_val2014_000000000042.jpg", "text": "A cup?", "label": "yes"}\n'
        '{"question_id": 2, "image": "COCO_val2014_000000000042.jpg", "text": "A dog?", "label": "no"}\n',
        [ask("A cup?", "yes"), ask("A dog?", "no")],
        {"COCO_val2014_000000000042.jpg": "navy"},
    ),
    "SEED-Bench, official": Layout(
        "SEED-Bench.json",
        {
            "question_type": {"Scene Understanding": 1},
            "questions": [
                {
                    **{"answer": "B", "choice_a": "hare", "choice_b": "fox", "choice_c": "owl", "choice_d": "hawk"},
                    **{"data_id": "1454426_2591111986", "data_type": "image", "question": "Who?", "question_id": "1"},
                    "question_type_id": 1,
                }
            ],
        },
        [ask("Who?", "B", choices=FOUR)],
        {"1454426_2591111986": "navy"},
    ),
    "SEED-Bench, hub": Layout(
        "test-00000-of-00001.parquet",
        [
            {
                **{"answer": "B", "choice_a": "hare", "choice_b": "fox", "choice_c": "owl", "choice_d": "hawk"},
                **{"data_id": "v1", "data_type": "image", "question": "Who?", "question_id": "1", "image": [NAVY]},
            }
        ],
        [ask("Who?", "B", choices=FOUR)],
    ),
    "MMStar, hub": Layout(
        "val.parquet",
        [
            {
                **{"index": 0, "question": "Who?\nOptions: A: hare, B: fox", "image": encoded("navy"), "answer": "A"},
                **{"category": "coarse", "l2_category": "x", "meta_info": {"source": "y", "image_path": "z.jpg"}},
            }
        ],
        [ask("Who?\nOptions: A: hare, B: fox", "A")],
    ),
    "MathVista, hub": Layout(
        "testmini-00000-of-00001.parquet",
        [
            {
                **{
                    "pid": "1",
                    "question": "How wide?",
                    "image": "images/1.jpg",
                    "decoded_image": NAVY,
                    "answer": "1.2",
                },
                **{"choices": None, "question_type": "free_form", "answer_type": "float", "query": "Hint: ..."},
            },
            {
                **{"pid": "2", "question": "Which?", "image": "images/2.jpg", "decoded_image": OLIVE, "answer": "145°"},
                **{"choices": ["100°", "145°"], "question_type": "multi_choice", "answer_type": "text", "query": "..."},
            },
        ],
        [ask("How wide?", "1.2"), ask("Which?", "B", choices=("100°", "145°"), shown=("olive",))],
    ),
    "HallusionBench, hub": Layout(
        "image-00000-of-00001.parquet",
        [
            {
                **{"category": "VS", "subcategory": "chart", "question_id": "0", "question": "Does it rise?"},
                **{"gt_answer_details": "It falls.", "gt_answer": str(truth), "filename": "./x/0_1.png", "image": NAVY},
            }
            for truth in (0, 1)
        ],
        [ask("Does it rise?", "no"), ask("Does it rise?", "yes")],
    ),
    "RealWorldQA, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"image": NAVY, "image_path": "0.webp", "question": "Left or right?", "answer": "Left"}],
        [ask("Left or right?", "Left")],
    ),
    "OCRBench, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"dataset": "x", "question": "Read it.", "question_type": "Text", "answer": ["CAFE"], "image": NAVY}],
        [ask("Read it.", "CAFE")],
    ),
    "OCRBench, official": Layout(
        "OCRBench.json",
        [
            {"dataset_name": "x", "id": 0, "question": "Read it.", "answers": ["CAFE"], "type": "Text"}
            | {"image_path": "x/a.jpg"}
        ],
        [ask("Read it.", "CAFE")],
        {"x/a.jpg": "navy"},
    ),
    "BLINK, hub": Layout(
        "val-00000-of-00001.parquet",
        [
            {
                **{"idx": "val_Jigsaw_1", "question": "Which fits?", "sub_task": "Jigsaw", "image_1": NAVY},
                **{"image_2": OLIVE, "image_3": None, "image_4": None, "choices": ["the second", "the third"]},
                **{"answer": "(B)", "prompt": "Which fits?\n(A) the second\n(B) the third", "explanation": ""},
            }
        ],
        [ask("Which fits?", "B", choices=("the second", "the third"), shown=("navy", "olive"))],
    ),
    "NLVR2, official": Layout(
        "dev.json",
        "\n".join(
            json.dumps(
                {
                    **{"validation": {"1": "True"}, "sentence": "There are two cups.", "label": label, "query": "cup"},
                    **{"left_url": "https://x.org/l.jpg", "identifier": f"dev-850-0-{number}", "writer": "20"},
                }
            )
            for number, label in enumerate(("True", "False"))
        ),
        [
            ask(statement("There are two cups."), "yes", shown=("navy", "olive")),
            ask(statement("There are two cups."), "no", shown=("navy", "olive")),
        ],
        {"dev-850-0-img0.png": "navy", "dev-850-0-img1.png": "olive"},
    ),
    "NLVR2, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"question_id": "1", "question": "Two cups?", "answer": True, "left_image": NAVY, "right_image": OLIVE}],
        [ask("Two cups?", "yes", shown=("navy", "olive"))],
    ),
    "A-OKVQA, official": Layout(
        "aokvqa_v1p0_val.json",
        [
            {
                **{"split": "val", "image_id": 42, "question_id": "q", "question": "Who?", "choices": list(FOUR)},
                **{"correct_choice_idx": 2, "direct_answers": ["owl"] * 10, "rationales": ["It is night."]},
            }
        ],
        [ask("Who?", "C", choices=FOUR)],
        {"000000000042.jpg": "navy"},
    ),
    "A-OKVQA, hub": Layout(
        "validation-00000-of-00001.parquet",
        [
            {
                **{"image": NAVY, "question_id": "q", "question": "How many?", "choices": ["1", "2", "3", "4"]},
                **{"correct_choice_idx": 2, "direct_answers": "['3', '3']", "difficult_direct_answer": False},
            }
        ],
        [ask("How many?", "C", choices=("1", "2", "3", "4"))],
    ),
    "COCO Caption, official": Layout(
        "captions_val2014.json",
        {
            "images": [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg", "coco_url": "https://x.org"}],
            "annotations": [{"image_id": 42, "id": 1, "caption": "A."}, {"image_id": 42, "id": 2, "caption": "B."}],
        },
        [ask(DESCRIBE, "A.", "B.")],
        {"COCO_val2014_000000000042.jpg": "navy"},
    ),
    "COCO Caption, Karpathy": Layout(
        "dataset_coco.json",
        {
            "dataset": "coco",
            "images": [
                {
                    **{"filepath": "val2014", "filename": f"{split}.jpg", "imgid": 0, "cocoid": 42, "split": split},
                    "sentences": [{"tokens": ["a"], "raw": f"For {split}.", "imgid": 0, "sentid": 1}],
                }
                for split in ("train", "test")
            ],
        },
        [ask(DESCRIBE, "For test.")],
        {"val2014/train.jpg": "olive", "val2014/test.jpg": "navy"},
    ),
    "COCO Caption, hub": Layout(
        "val-00000-of-00001.parquet",
        [
            {
                **{"question_id": "x.jpg", "image": NAVY, "question": "Describe it.", "answer": ["A.", "B."]},
                **{"id": 1, "license": 3, "file_name": "x.jpg", "coco_url": "https://x.org/x.jpg"},
            }
        ],
        [ask("Describe it.", "A.", "B.")],
    ),
    "NoCaps, hub": Layout(
        "validation-00000-of-00001.parquet",
        [
            {
                **{"image": NAVY, "image_coco_url": "https://x.org/x.jpg", "image_file_name": "x.jpg", "image_id": 0},
                **{"annotations_ids": [1, 2], "annotations_captions": ["A.", "B."]},
            }
        ],
        [ask(DESCRIBE, "A.", "B.")],
    ),
    "Flickr30k, hub": Layout(
        "TEST-00000-of-00001.parquet",
        [
            {
                **{"image": NAVY, "caption": ["A.", "B."], "sentids": ["0", "1"], "img_id": "0", "filename": "1.jpg"},
                "split": "test",
            }
        ],
        [ask(DESCRIBE, "A.", "B.")],
    ),
    "LLaVA-Instruct": Layout(
        "llava_instruct_150k.json",
        [{"id": "000000000042", "image": "000000000042.jpg", "conversations": LLAVA}],
        [ask(f"What is it?\n{IMAGE_PLACE}", "A sheet.")],
        {"000000000042.jpg": "navy"},
    ),
    "ShareGPT4V": Layout(
        "share-captioner_coco.json",
        [{"id": "42", "image": "coco/train2017/42.jpg", "conversations": LLAVA}],
        [ask(f"What is it?\n{IMAGE_PLACE}", "A sheet.")],
        {"coco/train2017/42.jpg": "navy"},
    ),
    "The Cauldron and FineVision": Layout(
        "train-00000-of-00001.parquet",
        [
            {
                "images": [NAVY],
                "texts": [
                    {"user": "What is it?", "assistant": "A sheet.", "source": "x"},
                    {"user": "Is it round?", "assistant": "No.", "source": "x"},
                ],
            }
        ],
        [ask("What is it?", "A sheet.")],
    ),
    "LLaMA-Factory, ShareGPT": Layout(
        "mllm_demo.json",
        [
            {"messages": CHAT, "images": ["1.jpg"]},
            {
                "messages": [
                    {"role": "user", "content": "<image>What is it?"},
                    {"role": "assistant", "content": "A sheet."},
                    {"role": "user", "content": "<image>And this?"},
                    {"role": "assistant", "content": "A cup."},
                ],
                "images": ["1.jpg", "2.jpg"],
            },
        ],
        [ask("What is it?", "A sheet."), ask("What is it?", "A sheet.")],
        {"1.jpg": "navy", "2.jpg": "olive"},
    ),
    "LLaMA-Factory, Alpaca": Layout(
        "alpaca.json",
        [{"instruction": "Answer in Latin.", "input": "What is it?", "output": "Liber.", "images": ["1.jpg"]}],
        [ask("Answer in Latin.\nWhat is it?", "Liber.")],
        {"1.jpg": "navy"},
    ),
    "ms-swift": Layout(
        "train.jsonl",
        "\n".join(
            map(
                json.dumps,
                [
                    {"messages": CHAT, "images": ["1.jpg"]},
                    {"messages": CHAT, "images": [{"path": "1.jpg"}]},
                    {"query": "And?", "response": "So.", "history": [["What is it?", "A sheet."]], "images": ["1.jpg"]},
                ],
            )
        ),
        [ask("What is it?", "A sheet.")] * 3,
        {"1.jpg": "navy"},
    ),
    "VSR": Layout(
        "dev.jsonl",
        "\n".join(
            json.dumps(
                {
                    **{"image": "000000085637.jpg", "image_link": "http://x.org/1.jpg", "caption": "It is on it."},
                    **{"label": label, "relation": "on", "annotator_id": 1, "vote_true_validator_id": []},
                }
            )
            for label in (1, 0)
        ),
        [ask(statement("It is on it."), "yes"), ask(statement("It is on it."), "no")],
        {"000000085637.jpg": "navy"},
    ),
}


def write(path: Path, content: Any) -> Path:
    """Write rows in the format that the name of the file says."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(content), path)
    elif path.suffix == ".tsv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, content[0], delimiter="\t")
            writer.writeheader()
            writer.writerows(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def load(layout: Layout, folder: Path) -> Samples:
    """Write the files of a layout and read it."""
    for name, colour in layout.images.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(encoded(colour))
    for name, content in layout.beside.items():
        write(folder / name, content)
    path = write(folder / layout.name, layout.content)
    return load_samples(path, images=folder / "images" if layout.images else None)


def shown(samples: Samples) -> list[Asked]:
    """What is asked, with the images told by their colours."""
    found: list[Asked] = []
    for sample in samples:
        colours = tuple(COLOURS[image.width - 40] for image in sample.open_images())
        found.append((sample.question, sample.choices, sample.answers, colours))
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_public_layout_is_read_without_naming_a_column(name: str, tmp_path: Path) -> None:
    samples = load(LAYOUTS[name], tmp_path)
    assert samples.rejected == ()
    assert shown(samples) == LAYOUTS[name].expected


def test_nocaps_and_cocos_captions_are_the_same_layout(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 0, "file_name": "a.jpg", "open_images_id": "0013", "coco_url": ""}],
        "annotations": [{"image_id": 0, "id": 9, "caption": "A cup."}, {"image_id": 5, "id": 1, "caption": "Lost."}],
    }
    layout = Layout("nocaps_val_4500_captions.json", content, [ask(DESCRIBE, "A cup.")], {"a.jpg": "navy"})
    assert shown(load(layout, tmp_path)) == layout.expected


def test_mme_as_its_authors_publish_it(tmp_path: Path) -> None:
    """Images with two questions each in a text of the same name, beside them or in a folder of texts."""
    texts = "Is there a cup?\tYes\nIs there a dog?\tNo\n"
    for place, text in (("existence/a", "existence/a"), ("posters/images/b", "posters/questions_answers_YN/b")):
        for name, data in ((f"{place}.png", encoded("navy")), (f"{text}.txt", texts.encode())):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    samples = load_samples(tmp_path)
    assert shown(samples) == [ask("Is there a cup?", "Yes"), ask("Is there a dog?", "No")] * 2
    assert [sample.family for sample in samples] == ["existence", "existence", "posters", "posters"]


@pytest.mark.parametrize(
    "annotations",
    [
        {"annotations": []},
        {"annotations": [{"question_id": 1}]},
        {"other": 1},
        "{",
        {"annotations": 3},
        {"annotations": [3]},
    ],
)
def test_annotations_that_do_not_fit_are_refused(annotations: Any, tmp_path: Path) -> None:
    write(tmp_path / "mscoco_val2014_annotations.json", annotations)
    path = write(
        tmp_path / "OpenEnded_mscoco_val2014_questions.json",
        {"questions": [{"image_id": 1, "question_id": 7, "question": "What?"}]},
    )
    with pytest.raises(DataError, match="the annotations in .* do not fit the questions") as caught:
        load_samples(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q", "history": [], "answer": "yes"},
        {"question": "Q", "history": "long ago", "answer": "yes"},
        {"question": "Q", "input": "unused", "instruction": "In one word.", "answer": "yes"},
        {"question": "Q", "identifier": "dev-1", "answer": "yes"},
        {"question": "Q", "filename": "a/b.png", "filepath": "folder", "answer": "yes"},
        {"question": "Q", "gt_answer_details": "x", "answer": "yes"},
    ],
)
def test_columns_of_a_layout_in_other_data_change_nothing(row: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("navy"))
    samples = load_samples(write(tmp_path / "d.json", [row | {"image": "a.png"}]))
    assert shown(samples) == [ask("Q", "yes")]
