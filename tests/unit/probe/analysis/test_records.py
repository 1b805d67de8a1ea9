"""An analysis as a file and as a data frame, with a finding of each kind."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from halfv_core.errors import DataError
from probe.analysis.records import COLUMNS, AnalysedExample, Analysis, ProbeResult
from probe.analyzers.findings import (
    AnyFinding,
    Bars,
    HeadMap,
    HeadWords,
    LayerSeries,
    SampleTable,
    ScatterPoints,
    StateMatrix,
    TokenMap,
    TokenWords,
    Words,
)
from probe.common.region import Region
from tests.profiles import qwen_like

SERIES = LayerSeries(
    name="s", title="S", unit="nats", axis="states", group="visual", mean=(1, 2), low=(0, 1), high=(2, 3), samples=2
)
TWO = (("a", 0.5), ("b", 0.25))
FINDINGS: dict[AnyFinding, int] = {
    SERIES: 2,
    HeadMap(name="h", title="H", mean=((0.5, 0.25),)): 2,
    StateMatrix(name="m", title="M", group="text", mean=((1.0, 0.5), (0.5, 1.0))): 4,
    Bars(name="b", title="B", conditions=("x", "y"), mean=(1, 2), low=(1, 1), high=(2, 2), samples=2): 2,
    SampleTable(name="t", title="T", axis="layers", values=((0.5,), (0.75,))): 2,
    SampleTable(name="one", title="One", values=((3.0,), (4.0,))): 2,
    ScatterPoints(
        name="p", title="P", x_title="attention", y_title="value", layers=(0, 0), x=(1, 2), y=(3, 4), labels=("u", "v")
    ): 4,
    TokenMap(name="map", title="Map", example="s1", axis="layers", values=((0.1, 0.2, 0.3),)): 3,
    Words(name="w", title="W", example="s1", axis="states", rows=(TWO, TWO)): 4,
    HeadWords(name="hw", title="HW", example="s1", rows=((TWO, TWO),)): 4,
    TokenWords(name="tw", title="TW", example="s1", axis="states", words=(("a", "b", "c"), ("d", "e", "f"))): 6,
}
"""With the number of rows of a data frame that each takes."""


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    profile = qwen_like()
    example = AnalysedExample(
        id="s1", question="q", references=("r",), answer="a", pictures=(), regions=(Region(0, 0, 0, 1, 1), None, None)
    )
    result = ProbeResult(name="all", title="All", question="What?", findings=tuple(FINDINGS))
    return Analysis(
        layers=1,
        stages=profile.stages,
        results=(result,),
        examples=(example,),
        provenance=profile.provenance.model_copy(update={"sample_ids": ("s0", "s1")}),
    )


def test_every_kind_of_finding_is_tested() -> None:
    kinds = get_args(get_args(AnyFinding)[0])
    assert {type(finding) for finding in FINDINGS} == set(kinds)


def test_a_saved_analysis_is_the_same(analysis: Analysis, tmp_path: Path) -> None:
    analysis.save(tmp_path / "a.json")
    assert Analysis.load(tmp_path / "a.json") == analysis


def test_the_frame_has_every_number_once(analysis: Analysis) -> None:
    frame = analysis.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert set(frame["probe"]) == {"all"}
    assert {finding.name: rows for finding, rows in FINDINGS.items()} == frame["finding"].value_counts().to_dict()


@pytest.mark.parametrize(
    ("finding", "row"),
    [
        ("s", {"group": "visual", "layer": 1, "value": 2, "low": 1, "high": 3}),
        ("h", {"layer": 0, "head": 1, "value": 0.25}),
        ("m", {"group": "text", "layer": 1, "condition": "1", "value": 1.0}),
        ("b", {"condition": "y", "value": 2, "low": 1, "high": 2}),
        ("t", {"sample": "s1", "layer": 0, "value": 0.75}),
        ("one", {"sample": "s1", "value": 4.0}),
        ("p", {"layer": 0, "condition": "value", "word": "v", "value": 4}),
        ("map", {"sample": "s1", "layer": 0, "token": 2, "value": 0.3}),
        ("w", {"sample": "s1", "layer": 1, "word": "b", "value": 0.25}),
        ("hw", {"sample": "s1", "layer": 0, "head": 1, "word": "b", "value": 0.25}),
        ("tw", {"sample": "s1", "layer": 1, "token": 2, "word": "f"}),
    ],
)
def test_the_last_row_of_each(finding: str, row: dict[str, Any], analysis: Analysis) -> None:
    frame = analysis.to_frame()
    last = frame[frame["finding"] == finding].iloc[-1].drop(["probe", "finding"])
    assert last.dropna().to_dict() == row


def test_results_and_findings_are_found_by_name(analysis: Analysis) -> None:
    assert analysis.sample_ids == ("s0", "s1")
    assert analysis.result("all").finding("s") is SERIES
    with pytest.raises(KeyError, match="no probe 'none' ran"):
        analysis.result("none")
    with pytest.raises(KeyError, match="all has no finding 'none'"):
        analysis.result("all").finding("none")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_no_finding_holds_a_number_that_json_has_not(number: float) -> None:
    with pytest.raises(ValidationError):
        HeadMap(name="h", title="H", mean=((number,),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; got .*a.json"),
        ("{", "a.json is not an analysis: .*; give a file that `halfv-probe analyze` wrote"),
        ("[]", "a.json is not an analysis: "),
        ('{"schema_version": 2}', "a.json is not an analysis: schema_version: "),
    ],
)
def test_a_file_that_is_no_analysis_is_one_line(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        Analysis.load(path)
    assert "\n" not in str(caught.value)


def test_a_finding_of_an_unknown_kind_is_refused(analysis: Analysis, tmp_path: Path) -> None:
    found = json.loads(analysis.model_dump_json())
    found["results"][0]["findings"][0]["kind"] = "poem"
    (tmp_path / "a.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match="is not an analysis: results.0.findings.0"):
        Analysis.load(tmp_path / "a.json")
