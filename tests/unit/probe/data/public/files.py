"""Layouts as their authors publish them: questions."""

from tests.unit.probe.data.public.layout import FOUR, LETTERS, MMBENCH, VOTES, Layout, ask, text64

FILES: dict[str, Layout] = {
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
    "MMStar, TSV of VLMEvalKit": Layout(
        "MMStar.tsv",
        [
            {"index": 0, "question": "Who hops?", **LETTERS, "answer": "A", "category": "x", "image": text64("navy")},
            {"index": 1, "question": "Who?", "A": "hare", "B": "fox", "C": "", "D": "", "answer": "B", "category": "x"}
            | {"image": text64("olive")},
        ],
        [ask("Who hops?", "A", choices=FOUR), ask("Who?", "B", choices=("hare", "fox"), shown=("olive",))],
    ),
    "BLINK, TSV of VLMEvalKit": Layout(
        "BLINK.tsv",
        [
            {"index": 0, "question": "Which fits?", "A": "the second", "B": "the third", "C": "nan", "D": "nan"}
            | {"answer": "B", "category": "Jigsaw", "image": str([text64("navy"), text64("olive")])}
        ],
        [ask("Which fits?", "B", choices=("the second", "the third"), shown=("navy", "olive"))],
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
}
