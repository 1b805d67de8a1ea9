"""The meaning of columns: a realistic row of every common layout, user-given columns, and no way to crash."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from halfv_core.errors import DataError
from halfv_core.interleaving import IMAGE_PLACE
from probe.data.columns import GUESSES, Columns
from probe.data.fields import DESCRIBE, Fields, read_fields
from probe.data.images import EmbeddedImage
from probe.data.layouts import plain
from probe.data.reading import decide, image_columns
from probe.data.samples import LETTER_INSTRUCTION, load_samples

ONE = EmbeddedImage("row 1 image_1", bytes)
TWO = EmbeddedImage("row 1 image_2", bytes)


def read(row: dict[str, Any], columns: Columns = Columns()) -> Fields:  # noqa: B008 - frozen
    """Read a row the way `load_samples` does."""
    values = plain(row)
    complete = columns.completed(tuple(values), (), image_columns([values]))
    return read_fields(values, complete, decide([values], [complete], None)[0])


class Expected(NamedTuple):
    """The expected fields of a row."""

    question: str
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    family: str | None = None
    id: str | None = None
    context: str | None = None
    instruction: str | None = None
    images: tuple[object, ...] = ("a.jpg",)
    votes: tuple[int, ...] = ()


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
SEED_BENCH = {
    **{"answer": "C", "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four"},
    **{"data_id": "454426_2591111986", "data_type": "image", "question": "How many towels are there?"},
    **{"question_id": "101669", "question_type_id": 5, "image": ["a.jpg"]},
}

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
        Expected(f"What is it? {IMAGE_PLACE}", ("A cat.",), images=("a.jpg", "https://x.org/b.jpg")),
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


def test_every_field_can_be_guessed_and_named() -> None:
    assert set(GUESSES) == set(Columns.model_fields)


BASE: dict[str, Any] = {"image": "a.jpg", "question": "q"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"image": "a.jpg", "question": ""}, "no question"),
        ({"image": "a.jpg", "question": " \n"}, "no question"),
        ({"image": "a.jpg", "question": "<image>"}, "no question"),
        ({"image": "a.jpg", "question": ONE}, "no question"),
        ({"image": "a.jpg", "question": float("nan")}, "no question"),
        ({"image": "a.jpg", "frage": "Warum?", "antwort": "Darum."}, "no question"),
        ({"image": "a.jpg", "conversations": "hello"}, "no question"),
        ({"image": "a.jpg", "conversations": [{"from": "gpt", "value": "Hello."}]}, "no question"),
        ({"image": "a.jpg", "conversations": [None, 3, {"from": "human"}]}, "no question"),
        ({"question": "q"}, "no image"),
        ({"image": None, "question": "q"}, "no image"),
        ({"image": [], "question": "q"}, "no image"),
        ({"image": 7, "question": "q"}, "an image is neither a path nor an image file; got int"),
        ({"image": {"path": {"x": 1}}, "question": "q"}, "got dict"),
        ({"image": [["a.jpg"]], "question": "q"}, "got list"),
        (
            BASE | {"choices": ["a", "b"], "answer": "c"},
            "the answer is none of the choices; got 'c'; expected one of a",
        ),
        (BASE | {"choices": ["a", "b"], "answer": 3}, "the answer is none of the choices; got '3'"),
        (BASE | {"choices": ["a", "b"], "answer": "²"}, "the answer is none of the choices"),
        (BASE | {"choices": ["a", "b"], "answer": "9" * 9999}, "the answer is none of the choices"),
        (BASE | {"choices": "A. cat\nB. dog", "answer": "A"}, "only one choice; got 'A. cat"),
        (BASE | {"choices": ["a", "", "c"], "answer": 1}, "an empty choice between others"),
        (BASE | {"A": "a", "B": None, "C": "c", "answer": "C"}, "an empty choice between others"),
        (BASE | {"choices": list(range(27)), "answer": 1}, "more choices than letters; got 27"),
    ],
)
def test_a_row_that_is_no_sample_says_why_in_a_line(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(row)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"bild": "a.jpg", "frage": "Warum?"}, {"image": "bild", "question": "frage"}, Expected("Warum?")),
        (
            {"image": "a.jpg", "item": {"q": {"text": "Why?"}, "a": ["x", "y"]}},
            {"question": "item.q", "answer": "item.a"},
            Expected("Why?", ("x", "y")),
        ),
        (BASE | {"a.b": "exact", "a": {"b": "inner"}}, {"answer": "a.b"}, Expected("q", ("exact",))),
        (
            {"doc_id": 1, "doc": {"question": "inner", "image": "a.jpg"}},
            {"question": "doc.question", "id": "doc_id"},
            Expected("inner", id="1"),
        ),
        (
            {"left": "a.jpg", "right": "b.jpg", "question": "q"},
            {"image": "left,right"},
            Expected("q", images=("a.jpg", "b.jpg")),
        ),
        (BASE | {"x": "one", "y": "two", "truth": "two"}, {"choices": "x,y", "answer": "truth"}, None),
        (BASE | {"options": "shipping"}, {"choices": ""}, Expected("q")),
        (
            {"image": "a.jpg", "question": "unused", "text": "A cat."},
            {"caption": "text"},
            Expected(DESCRIBE, ("A cat.",)),
        ),
        ({"image": "a.jpg", "label": "cat"}, {"caption": "label"}, Expected(DESCRIBE, ("cat",))),
        ({"image": "a.jpg", "text": "A cat.", "label": 3}, {"question": "", "caption": "text"}, None),
    ],
)
def test_what_the_user_names_is_taken(row: dict[str, Any], columns: dict[str, str], expected: Expected | None) -> None:
    found = read(row, Columns(**columns))
    if expected is not None:
        assert found._asdict() == expected._asdict()
    elif found.choices:
        assert (found.choices, found.answers) == (("one", "two"), ("B",))
    else:
        assert (found.question, found.answers) == (DESCRIBE, ("A cat.",))


def test_columns_are_given_in_pairs() -> None:
    given = Columns.from_pairs(["question=prompt", "image=left,right", "answer=a=b", "choices="])
    assert given == Columns(question="prompt", image="left,right", answer="a=b", choices="")
    assert given.given() == {"image": "left,right", "question": "prompt", "answer": "a=b"}
    assert Columns.from_pairs([]) == Columns()


@pytest.mark.parametrize("pair", ["colour=x", "question", "=x", "", "Question=x", "question =x"])
def test_pairs_of_another_form_are_one_clear_line(pair: str) -> None:
    with pytest.raises(DataError, match=r"bad --column; got .*; expected FIELD=COLUMN with a field of id, image"):
        Columns.from_pairs([pair])


def test_columns_that_no_row_has_are_refused() -> None:
    Columns(question="a.b", image="x,y").check(["a", "x", "y"])
    with pytest.raises(DataError, match="no column for image; got z; expected one of a, x, y"):
        Columns(question="a", image="x,z").check(["y", "x", "a"])


def test_columns_that_some_rows_lack_are_those_of_the_others(tmp_path: Path) -> None:
    """A row without a question is not treated as an image to describe if the other rows have questions."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    rows = [{"image": "a.jpg", "question": "q"}, {"image": "a.jpg"}, {"images": ["a.jpg"], "question": "r"}]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = load_samples(path)
    assert [sample.question for sample in found] == ["q", "r"]
    assert [str(row) for row in found.rejected] == ["line 2: no question; got columns image"]
    assert found.columns.image == "image"


def test_choices_are_asked_for_by_letter(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(SEED_BENCH))
    expected = f"How many towels are there?\nA. One\nB. Two\nC. Three\nD. Four\n{LETTER_INSTRUCTION}"
    assert load_samples(path)[0].prompt == expected


NAMES = st.sampled_from([name for names in GUESSES.values() for name in names] + ["doc", "A", "b", "C", "image_1", "x"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.characters(categories=("Cs", "Cc", "No"))
    | st.sampled_from(
        ["a.jpg", "[]", "['a' 'b']", "[1", "['\\d']", "<image>", "A", "http://x", "data:image/x,", "²", "ä" * 300]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(NAMES, JSON, max_size=6) | JSON, min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(row=st.dictionaries(NAMES | st.text(max_size=3), JSON, max_size=8))
def test_any_row_is_read_or_refused(row: dict[str, Any]) -> None:
    try:
        found = read(row)
    except (DataError, ValidationError) as error:
        assert isinstance(error, ValidationError) or "\n" not in str(error)
    else:
        assert found.question and found.images
        assert len(found.choices) != 1
        assert not found.choices or set(found.answers) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(found.choices)])


@settings(max_examples=150, deadline=None)
@given(rows=ROWS)
def test_every_row_is_a_sample_or_named_in_a_line(rows: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").write_bytes(b"not opened here")
    good = [{"image": "a.jpg", "question": "q"}] * (len(rows) + 1)
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, [*good, *rows])))
    try:
        found = load_samples(folder / "d.jsonl")
    except DataError as error:  # answers with two readings
        assert "say which with --answers-are" in str(error) and "\n" not in str(error)
        return
    assert len(found) + len(found.rejected) == len(good) + len(rows)
    assert len({sample.id for sample in found}) == len(found)
    for row in found.rejected:
        assert row.label.startswith("line ") and row.reason
        assert str(row).isprintable() and len(str(row)) < 400
    for sample in found:
        assert sample.question and sample.images and sample.prompt.encode()
