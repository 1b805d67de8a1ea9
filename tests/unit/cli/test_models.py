"""`halfv-probe models` and `doctor`: known names, installed packages, and models that can be probed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import doctor
from cli.main import app
from halfv_core.errors import ModelError
from halfv_core.families import FAMILIES
from halfv_core.models import MODEL_NAMES, bundled_models


def test_models_lists_every_name() -> None:
    table = CliRunner().invoke(app, ["models"]).stdout
    for name in (*MODEL_NAMES, *bundled_models()):
        assert name in table


def test_models_as_json() -> None:
    found = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert {row["name"]: row["source"] for row in found if not row["bundled"]} == MODEL_NAMES
    assert {row["name"]: Path(row["source"]) for row in found if row["bundled"]} == bundled_models()


def test_models_says_what_is_worth_knowing_of_each() -> None:
    rows = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    found = {row["name"]: row for row in rows if not row["bundled"]}
    assert {row["family"] for row in found.values()} <= {family.name for family in FAMILIES.values()}
    seven, large = found["qwen2.5-vl-7b"], found["qwen2.5-vl-72b"]
    assert (seven["licence"], seven["visual_tokens"], seven["dtype"]) == ("Apache 2.0", 16384, "bfloat16")
    assert (seven["parameters"], seven["calibration_pixels"]) == (8_292_000_000, 2500 * 28 * 28)
    assert 2 * 8.3 + 1 < seven["calibration_gb"] < 2 * 8.3 + 4 < 2 * 73.4 < large["calibration_gb"]


def test_models_are_listed_without_torch() -> None:
    listed = "import sys; from cli.main import app; app(['models'], standalone_mode=False)"
    code = f"{listed}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_doctor_compares_with_the_pinned_versions() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", Path("constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert doctor.TESTED.items() <= pins.items()
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert found["packages"]["torch"]["tested"] == pins["torch"]
    assert found["packages"]["torch"]["installed"]
    assert found["devices"][0].startswith("cpu") and found["model"] is None


def test_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TESTED", {"no-such-package-here": "1.0"})
    assert re.search(r"no-such-package-here +not installed +1\.0", CliRunner().invoke(app, ["doctor"]).stdout)


def test_doctor_examines_a_bundled_model() -> None:
    name = "tiny-qwen2.5-vl"
    assert name in bundled_models()
    result = json.loads(CliRunner().invoke(app, ["doctor", "--model", name, "--json"]).stdout)["model"]
    assert (result["name"], result["family"], result["attention"]) == (name, "Qwen2.5-VL", "sdpa")
    assert result["layers"] >= 12 and result["visual_token_ids"]
    assert "the model can be probed" in CliRunner().invoke(app, ["doctor", "--model", name]).stdout


def test_the_attention_kernel_can_be_chosen() -> None:
    kernel = ["--attn-implementation", "eager"]
    found = CliRunner().invoke(app, ["doctor", "--model", "tiny-llava", *kernel, "--json"]).stdout
    assert json.loads(found)["model"]["attention"] == "eager"


def test_doctor_refuses_an_unknown_model() -> None:
    result = CliRunner().invoke(app, ["doctor", "--model", "no-such-model"])
    assert isinstance(result.exception, ModelError) and "no model 'no-such-model'" in str(result.exception)
