"""lmms-eval's own command on a local task of the bundled scenes; see `make test-lmms`.

What does not need lmms-eval is in test_under_plan.py.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from halfv_core import Keep, Plan

pytest.importorskip("lmms_eval")

ROOT = Path(__file__).parents[4]
MODELS, SCENES = ROOT / "data_samples" / "models", ROOT / "data_samples" / "scenes"
PROFILES = ROOT / "data_samples" / "profiles"
QUESTIONS = 60
BASES = {
    "llava_hf": f"pretrained={MODELS / 'tiny-llava'},device_map=cpu",
    "qwen2_5_vl": f"pretrained={MODELS / 'tiny-qwen2.5-vl'},device_map=cpu,min_pixels=50176,max_pixels=50176",
}
PROFILE = {
    "llava_hf": f"profile={PROFILES / 'tiny-llava.json'}",
    "qwen2_5_vl": f"profile={PROFILES / 'tiny-qwen2.5-vl.json'}",
}

TASK = """
task: scenes
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.visuals
doc_to_text: !function utils.text
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 8, temperature: 0, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}}]
lmms_eval_specific_kwargs:
  default: {{pre_prompt: "Say nothing. "}}
  llava_hf: {{pre_prompt: ""}}
  qwen2_5_vl: {{pre_prompt: ""}}
"""
UTILS = """
from PIL import Image

def visuals(doc):
    return [Image.open(doc["image"]).convert("RGB")]

def text(doc, lmms_eval_specific_kwargs):
    return lmms_eval_specific_kwargs["pre_prompt"] + doc["question"]
"""


class Ran(NamedTuple):
    """What a run of `lmms-eval` left behind."""

    status: int
    printed: str
    results: dict[str, Any]
    """Empty if there are none."""
    prompts: list[str]
    answers: list[str]

    @property
    def score(self) -> float:
        """Share of right answers."""
        return float(self.results["results"]["scenes"]["exact_match,none"])


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task: held-out scenes, whose questions are other ones for models that lmms-eval does not know."""
    folder = tmp_path_factory.mktemp("task")
    lines = (SCENES / "heldout.jsonl").read_text().splitlines()[:QUESTIONS]
    rows = [json.loads(line) for line in lines]
    data = folder / "data" / "scenes.jsonl"
    data.parent.mkdir()
    data.write_text("".join(json.dumps(row | {"image": str(SCENES / row["image"])}) + "\n" for row in rows))
    (folder / "scenes.yaml").write_text(TASK.format(data=data))
    (folder / "utils.py").write_text(UTILS)
    return folder


def lmms_eval(task: Path, output: Path, model: str, arguments: str, *more: str) -> Ran:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(output / "home"), "OMP_NUM_THREADS": "1"}
    command = f"-m lmms_eval --model {model} --tasks scenes --device cpu --log_samples".split()
    places = ["--model_args", arguments, "--include_path", str(task), "--output_path", str(output)]
    done = subprocess.run(
        [sys.executable, *command, *places, *more],
        cwd=output,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    results = [json.loads(path.read_text()) for path in output.rglob("*results.json")]
    samples = [json.loads(line) for path in output.rglob("*samples_scenes.jsonl") for line in path.open()]
    samples.sort(key=lambda sample: int(sample["doc_id"]))
    return Ran(
        done.returncode,
        done.stdout + done.stderr,
        results[0] if results else {},
        [sample["input"] for sample in samples],
        [sample["filtered_resps"][0] for sample in samples],
    )


@pytest.mark.parametrize("base", BASES)
def test_the_plan_changes_the_answers_and_nothing_else(base: str, task: Path, tmp_path: Path) -> None:
    for name in ("full", "same", "plan", "none"):
        (tmp_path / name).mkdir()
    Plan(()).save(tmp_path / "same.json")
    Plan([Keep(layer=1, keep_ratio=0.0)]).save(tmp_path / "none.json")
    named = f"base={base},{BASES[base]},"
    full = lmms_eval(task, tmp_path / "full", base, BASES[base])
    same = lmms_eval(task, tmp_path / "same", "halfv", f"{named}plan={tmp_path / 'same.json'}")
    plan = lmms_eval(task, tmp_path / "plan", "halfv", named + PROFILE[base])
    none = lmms_eval(task, tmp_path / "none", "halfv", f"{named}plan={tmp_path / 'none.json'}")
    for ran in (full, same, plan, none):
        assert ran.status == 0 and ran.results, ran.printed
        assert ran.prompts == full.prompts and len(ran.prompts) == QUESTIONS
    print(base, *(f"{ran.score:.3f}" for ran in (full, plan, none)), plan.results["throughput"])
    assert same.answers == full.answers
    assert plan.score >= 0.9 * full.score > 0.7 > 0.3 > none.score
    assert plan.results["throughput"]["avg_flops_ratio"] > 2


def test_a_failure_is_no_empty_answer(task: Path, tmp_path: Path) -> None:
    """`llava_hf` catches whatever generate() raises, and lmms-eval's command ends with status 0."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(MODELS / "tiny-llava", checkpoint)
    settings = checkpoint / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"prompt_lookup_num_tokens": 3}))
    (tmp_path / "output").mkdir()
    arguments = f"base=llava_hf,pretrained={checkpoint},device_map=cpu,{PROFILE['llava_hf']}"
    ran = lmms_eval(task, tmp_path / "output", "halfv", arguments)
    assert ran.status == 1 and not ran.results
    assert "halfv: assisted decoding cannot run under a plan; leave out the assistant\n" in ran.printed
    assert "Traceback" not in ran.printed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (f"base=llava_hf,{BASES['llava_hf']}", "a model under a plan needs one plan; got none"),
        (f"base=llava,{PROFILE['llava_hf']}", "lmms-eval cannot build its model llava "),
        (
            f"base=llava_hf,x=1,{PROFILE['llava_hf']}",
            r"lmms-eval cannot build its model llava_hf \(AssertionError: Unex",
        ),
        (f"base=halfv,{PROFILE['llava_hf']}", "unknown base in --model_args; got halfv"),
        (f"base=llava_hf,{BASES['llava_hf']},profile=nowhere.json", "cannot read profile nowhere.json"),
        (f"base=llava_hf,{BASES['llava_hf']},{PROFILE['qwen2_5_vl']}", "this profile was made for another model"),
        (f"base=dummy,{PROFILE['llava_hf']}", "this is not a transformers model; got "),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    from lmms_eval.models import get_model

    with pytest.raises(SystemExit, match=f"^halfv: {line}"):
        get_model("halfv").create_from_arg_string(arguments, {"batch_size": 1, "device": "cpu"})
    assert "Traceback" not in capsys.readouterr().err
