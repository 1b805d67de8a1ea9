"""Layouts as the hub has them, in Parquet."""

from halfv_core.interleaving import IMAGE_PLACE
from probe.data.fields import ASKED_IN_IMAGE, DESCRIBE
from tests.unit.probe.data.public.layout import FOUR, MMMU, NAVY, OLIVE, VOTES, Layout, ask, encoded

HUB: dict[str, Layout] = {
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
    "MME, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"question_id": "a/1.png", "image": NAVY, "question": "A cup?", "answer": "Yes", "category": "existence"}],
        [ask("A cup?", "Yes")],
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
    "NLVR2, hub": Layout(
        "test-00000-of-00001.parquet",
        [{"question_id": "1", "question": "Two cups?", "answer": True, "left_image": NAVY, "right_image": OLIVE}],
        [ask("Two cups?", "yes", shown=("navy", "olive"))],
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
}
