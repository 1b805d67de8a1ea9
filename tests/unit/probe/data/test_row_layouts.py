"""A realistic row of every common layout is understood without options."""

import json
from typing import Any

import pytest

from halfv_core.interleaving import IMAGE_PLACE
from probe.data.fields import DESCRIBE
from tests.unit.probe.data.rows import ONE, SEED_BENCH, TWO, Expected, read

ANNOTATIONS = [
    {"answer": answer, "answer_confidence": "yes", "answer_id": index}
    for index, answer in enumerate(["net", "netting", "net", "mesh", "net", "netting"])
]
CHAT = [
    {"role": "system", "content": "You are helpful."},
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": "a.jpg"}},
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://x.org/b.jpg", "detail": "low"}},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "A dog."},
]
LLAVA = [
    {"from": "human", "value": "<image>\nWhat is in the photo?"},
    {"from": "gpt", "value": "A bus."},
    {"from": "human", "value": "Which colour?"},
    {"from": "gpt", "value": "Red."},
]

LAYOUTS: dict[str, tuple[dict[str, Any], Expected]] = {
    "ours": (
        {"id": "s1", "image": "a.jpg", "question": "Is there a circle?", "answer": "yes", "family": "existence"},
        Expected("Is there a circle?", ("yes",), family="existence", id="s1"),
    ),
    "ours, several images and answers": (
        {"images": ["a.jpg", "b.jpg"], "question": "Which?", "answers": ["left", "the left one"]},
        Expected("Which?", ("left", "the left one"), images=("a.jpg", "b.jpg")),
    ),
    "VQAv2": (
        {
            **{"question_type": "what is this", "multiple_choice_answer": "net", "answers": ANNOTATIONS},
            **{"image_id": 262148, "answer_type": "other", "question_id": 262148000, "question": "What is this?"},
            "image": ONE,
        },
        Expected(
            "What is this?",
            ("net", "netting", "mesh"),
            family="what is this",
            id="262148000",
            images=(ONE,),
            votes=(3, 2, 1),
        ),
    ),
    "TextVQA": (
        {
            **{"image_id": "003a8ae2ef43b901", "question_id": 34602, "question": "what is the brand of this camera?"},
            **{"question_tokens": ["what", "is"], "image": ONE, "image_width": 1024, "image_height": 664},
            **{"flickr_300k_url": "https://x.org/o.jpg", "image_classes": ["Cassette deck"], "set_name": "val"},
            "answers": ["nous les gosses", "dakota", "clos culombu", "dakota", "dakota digital", "dakota"],
        },
        Expected(
            "what is the brand of this camera?",
            ("dakota", "nous les gosses", "clos culombu", "dakota digital"),
            id="34602",
            images=(ONE,),
            votes=(3, 1, 1, 1),
        ),
    ),
    "DocVQA": (
        {
            **{"questionId": "49153", "question": "What is the ‘actual’ value?", "question_types": ["figure/diagram"]},
            **{"image": ONE, "docId": 14465, "ucsf_document_id": "pybv0228", "answers": ["0.28", "0.280"]},
        },
        Expected("What is the ‘actual’ value?", ("0.28", "0.280"), family="figure/diagram", id="49153", images=(ONE,)),
    ),
    "GQA": (
        {
            **{"id": "201307251", "imageId": "n161313", "question": "Is it overcast?", "answer": "no"},
            **{"fullAnswer": "No, it is not overcast.", "isBalanced": True, "image": "a.jpg"},
            "types": {"detailed": "weatherVerify", "semantic": "global", "structural": "verify"},
        },
        Expected("Is it overcast?", ("no",), id="201307251"),
    ),
    "POPE": (
        {"question_id": 1, "image": "a.jpg", "text": "Is there a snowboard in the image?", "label": "yes"},
        Expected("Is there a snowboard in the image?", ("yes",), id="1"),
    ),
    "POPE of lmms-lab": (
        {
            **{"id": "3", "question_id": "1", "question": "Is there a snowboard in the image?", "answer": "yes"},
            **{"image_source": "COCO_val2014_000000310196", "image": ONE, "category": "adversarial"},
        },
        Expected("Is there a snowboard in the image?", ("yes",), family="adversarial", id="3", images=(ONE,)),
    ),
    "LLaVA's benchmarks": (
        {"question_id": 0, "image": "a.jpg", "text": "Describe this photo in detail.", "category": "detail"},
        Expected("Describe this photo in detail.", family="detail", id="0"),
    ),
    "MME": (
        {
            **{"question_id": "code_reasoning/0020.png", "image": ONE, "answer": "Yes", "category": "code_reasoning"},
            "question": "Is a python code shown in the picture? Please answer yes or no.",
        },
        Expected(
            "Is a python code shown in the picture? Please answer yes or no.",
            ("Yes",),
            family="code_reasoning",
            id="code_reasoning/0020.png",
            images=(ONE,),
        ),
    ),
    "MMBench": (
        {
            **{"index": "241", "question": "Identify the question.", "hint": "The passage describes an experiment."},
            **{"A": "Does it rise?", "B": "Does it fall?", "C": None, "D": None, "answer": "B"},
            **{"category": "identity_reasoning", "image": "/9j/4AAQ", "source": "scienceqa", "l2-category": "x"},
            **{"comment": None, "split": "dev"},
        },
        Expected(
            "Identify the question.",
            ("B",),
            ("Does it rise?", "Does it fall?"),
            "identity_reasoning",
            "241",
            "The passage describes an experiment.",
            images=("/9j/4AAQ",),
        ),
    ),
    "ScienceQA": (
        {
            **{"image": ONE, "question": "Which is greater?", "choices": ["2", "1", "0"], "answer": 0, "hint": ""},
            **{"task": "closed choice", "grade": "grade2", "subject": "natural science", "topic": "physics"},
            **{"category": "Magnets", "skill": "Compare", "lecture": "Magnets can pull.", "solution": "Look."},
        },
        Expected("Which is greater?", ("A",), ("2", "1", "0"), "Magnets", images=(ONE,)),
    ),
    "AI2D": (
        {"question": "which is below?", "options": ["wings", "tail", "head", "legs"], "answer": "2", "image": ONE},
        Expected("which is below?", ("C",), ("wings", "tail", "head", "legs"), images=(ONE,)),
    ),
    "MMMU": (
        {
            **{"id": "validation_Accounting_1", "question": "<image 1> Baxter has a rate of 0.35. Use <image 2> too."},
            **{"options": "['$6', '$7', \"it's <image 2>\", '<image 3>']", "explanation": "", "answer": "D"},
            **{"image_2": TWO, "image_10": None, "image_1": ONE, "img_type": "['Tables']", "subfield": "Managerial"},
            **{"question_type": "multiple-choice", "topic_difficulty": "Medium"},
        },
        Expected(
            f"image 1 Baxter has a rate of 0.35. Use {IMAGE_PLACE}image 2 too.",
            ("D",),
            ("$6", "$7", "it's image 2", "image 3"),
            "multiple-choice",
            "validation_Accounting_1",
            images=(ONE, TWO),
        ),
    ),
    "MMMU, open and hidden": (
        {"question": "How many <image 1>?", "options": "[]", "answer": "['24/7', '3.429']", "image_1": ONE},
        Expected(f"How many {IMAGE_PLACE}image 1?", ("24/7", "3.429"), images=(ONE,)),
    ),
    "MMMU's test split": (
        {"question": "Which <image 1>", "options": "['x', 'y']", "answer": "?", "image_1": ONE},
        Expected(f"Which {IMAGE_PLACE}image 1", (), ("x", "y"), images=(ONE,)),
    ),
    "SEED-Bench": (
        SEED_BENCH,
        Expected("How many towels are there?", ("C",), ("One", "Two", "Three", "Four"), id="101669"),
    ),
    "choices with letters of their own": (
        {"question": "Which?", "options": ["A. Apples.", "B. Pears."], "answer": "B. Pears.", "image": "a.jpg"},
        Expected("Which?", ("B",), ("Apples.", "Pears.")),
    ),
    "choices filed under letters": (
        {"question": "Which?", "options": {"A": "apples", "B": "pears"}, "answer": "(b)", "image": "a.jpg"},
        Expected("Which?", ("B",), ("apples", "pears")),
    ),
    "choices with labels": (
        {"question": "Which?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answer": "y", "image": "a.jpg"},
        Expected("Which?", ("B",), ("x", "y")),
    ),
    "choices as NumPy prints them": (
        {"question": "Which?", "choices": "['big one' 'small\\d'\n \"it's\"]", "answer": "1", "image": "a.jpg"},
        Expected("Which?", ("B",), ("big one", "small\\d", "it's")),
    ),
    "choices that are numbers": (
        {"question": "How many?", "choices": [1, 2, 3], "answer": 1, "image": "a.jpg"},
        Expected("How many?", ("A",), ("1", "2", "3")),
    ),
    "LLaVA": (
        {"id": "000000033471", "image": "a.jpg", "conversations": LLAVA},
        Expected("What is in the photo?", ("A bus.",), id="000000033471"),
    ),
    "LLaVA as text": (
        {"image": "a.jpg", "conversations": json.dumps(LLAVA)},
        Expected("What is in the photo?", ("A bus.",)),
    ),
    "OpenAI": (
        {"messages": CHAT},
        Expected(
            f"What is it? {IMAGE_PLACE}",
            ("A cat.",),
            images=("a.jpg", "https://x.org/b.jpg"),
            turns=(("system", "You are helpful."),),
        ),
    ),
    "chat with text, images beside": (
        {
            "images": [ONE],
            "messages": [{"role": "user", "content": "<image>Why?"}, {"role": "assistant", "content": ""}],
        },
        Expected("Why?", images=(ONE,)),
    ),
    "chat of Transformers": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "path": "a.jpg"}, {"type": "text", "text": "Why?"}]}
            ]
        },
        Expected("Why?"),
    ),
    "lmms-eval": (
        {
            **{"doc_id": 7, "target": "cat", "arguments": {"0": "..."}, "resps": [["dog"]], "filtered_resps": ["dog"]},
            **{"doc_hash": "0", "doc": {"question": "What?", "image": "a.jpg", "category": "animals"}},
        },
        Expected("What?", ("cat",), family="animals", id="7"),
    ),
    "captions beside a list of texts": (
        {"image": "a.jpg", "caption": "A cat.", "texts": ["a", "b"]},
        Expected(DESCRIBE, ("A cat.",)),
    ),
    "COCO captions": (
        {"image": "a.jpg", "captions": ["A cat on a mat.", "A cat.", "A cat."], "cocoid": 7},
        Expected(DESCRIBE, ("A cat on a mat.", "A cat.", "A cat.")),
    ),
    "captions in text": ({"image": "a.jpg", "text": "A cat."}, Expected(DESCRIBE, ("A cat.",))),
    "imagefolder": ({"file_name": "a.jpg", "text": "A cat."}, Expected(DESCRIBE, ("A cat.",))),
    "a picture alone": ({"id": "a", "image": "a.jpg"}, Expected(DESCRIBE, id="a")),
    "instructions": (
        {"image": "a.jpg", "instruction": "Count the birds.", "output": "3"},
        Expected("Count the birds.", ("3",)),
    ),
    "with its own last words": (
        {"image": "a.jpg", "question": "How many?", "post_prompt": "Answer with a number.", "answer": 3.0},
        Expected("How many?", ("3",), instruction="Answer with a number."),
    ),
    "shouted": ({"Image": "a.jpg", "QUESTION": "Why?", "Answer": True}, Expected("Why?", ("yes",))),
    "half an emoji": ({"image": "a.jpg", "question": "Why \ud83d?", "id": "\ud83d"}, Expected("Why ??", id="?")),
    "SQuAD's answers": (
        {"image": "a.jpg", "question": "Who?", "answers": {"text": ["Ann", "Bob"], "answer_start": [1, 2]}},
        Expected("Who?", ("Ann",)),
    ),
    "Qwen's marks": (
        {"image": "a.jpg", "query": "<|vision_start|><|image_pad|><|vision_end|>\nWhy?", "response": "So."},
        Expected("Why?", ("So.",)),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_of_a_common_layout_is_understood(layout: str) -> None:
    row, expected = LAYOUTS[layout]
    assert read(row)._asdict() == expected._asdict()
