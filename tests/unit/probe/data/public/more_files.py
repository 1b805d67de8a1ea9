"""Layouts as their authors publish them: captions, statements, conversations."""

import json

from halfv_core.interleaving import IMAGE_PLACE
from probe.data.fields import DESCRIBE
from tests.unit.probe.data.public.layout import CHAT, FOUR, LLAVA, NAVY, Layout, ask, statement

MORE_FILES: dict[str, Layout] = {
    "HallusionBench, official": Layout(
        "HallusionBench.json",
        [
            {
                **{"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0", "figure_id": "1"},
                **{"sample_note": "circle", "question_id": "0", "question": "Is it round?", "gt_answer": "1"},
                **{"gt_answer_details": "It is.", "filename": "./hallusion_bench/VD/illusion/0_1.png"},
            }
        ],
        [ask("Is it round?", "yes")],
        {"hallusion_bench/VD/illusion/0_1.png": "navy"},
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
    "Flickr30k, Karpathy": Layout(
        "dataset_flickr30k.json",
        {
            "images": [
                {
                    **{"sentids": [0, 1], "imgid": 0, "split": "test", "filename": "1000092795.jpg"},
                    "sentences": [{"tokens": ["a"], "raw": raw, "imgid": 0, "sentid": 0} for raw in ("A.", "B.")],
                }
            ],
            "dataset": "flickr30k",
        },
        [ask(DESCRIBE, "A.", "B.")],
        {"1000092795.jpg": "navy"},
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
