"""Analysis: what probes found out about one model, as a JSON file.

analysis = Analysis.load("analysis.json")
analysis.to_frame()                              # one row for each number
analysis.result("shares").finding("share_visual").mean
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue, ValidationError, model_validator

from halfv_core.errors import DataError, first_fault
from halfv_core.files import read_text, write_atomically
from halfv_core.records import Provenance, Record, Stages
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
from probe.calibration.observations import Picture
from probe.common.region import Region

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("probe", "finding", "group", "sample", "layer", "head", "token", "condition", "word", "value", "low", "high")


class AnalysedExample(Record):
    """One sample whose maps are kept."""

    id: str
    question: str
    """The prompt's text."""
    references: tuple[str, ...]
    answer: str
    """The full model's."""
    pictures: tuple[Picture, ...]
    regions: tuple[Region | None, ...]
    """One per visual token, in the order of the prompt; null for tokens without a place."""


class ProbeResult(Record):
    """What one probe found out."""

    name: str
    title: str
    question: str
    findings: tuple[AnyFinding, ...]

    def finding(self, name: str) -> AnyFinding:
        """A finding by its name.

        Raises:
            KeyError: there is none.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"{self.name} has no finding {name!r}")


class Analysis(Record):
    """The results of all probes on the same samples. `Analysis.load(path) == analysis` after `analysis.save(path)`."""

    kind: Literal["analysis"] = "analysis"
    schema_version: Literal[1] = 1
    layers: int
    """Number of decoder layers."""
    stages: Stages | None = None
    """Those of a profile of this model, if one was given."""
    results: tuple[ProbeResult, ...]
    """In the order in which the probes were asked for."""
    examples: tuple[AnalysedExample, ...]
    provenance: Provenance

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Analysis":
        tokens = {example.id: len(example.regions) for example in self.examples}
        for result in self.results:
            for finding in result.findings:
                if fault := _misfit(finding, self.layers, len(self.provenance.sample_ids), tokens):
                    raise ValueError(f"finding {finding.name!r} of probe {result.name!r} has {fault}")
        return self

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """The samples that were measured, in order."""
        return self.provenance.sample_ids

    def result(self, probe: str) -> ProbeResult:
        """The result of a probe.

        Raises:
            KeyError: the probe did not run.
        """
        for result in self.results:
            if result.name == probe:
                return result
        raise KeyError(f"no probe {probe!r} ran")

    def to_frame(self) -> "DataFrame":
        """All numbers as a pandas data frame, one row each; see `COLUMNS`. What does not apply is missing."""
        from pandas import DataFrame

        rows = [
            {"probe": result.name, "finding": finding.name, **row}
            for result in self.results
            for finding in result.findings
            for row in _rows(finding, self.sample_ids)
        ]
        return DataFrame(rows, columns=list(COLUMNS))

    def save(self, path: str | Path) -> None:
        """Write the file atomically."""
        write_atomically(Path(path), self.model_dump_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Analysis":
        """Read a file.

        Raises:
            DataError: the file does not exist, or is not an analysis.
        """
        remedy = "give a file that `halfv-probe analyze` wrote"
        try:
            return cls.model_validate_json(read_text(Path(path)))
        except FileNotFoundError:
            raise DataError("no such file", got=str(path)) from None
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} is not text", expected="a JSON file", remedy=remedy) from None
        except ValidationError as error:
            raise DataError(f"{path} is not an analysis: {first_fault(error)}", remedy=remedy) from None


def is_analysis(data: JsonValue) -> bool:
    """Whether parsed JSON says that it is an analysis."""
    return isinstance(data, dict) and data.get("kind") == Analysis.model_fields["kind"].default


def _misfit(finding: AnyFinding, layers: int, samples: int, tokens: Mapping[str, int]) -> str:
    """What does not fit the model, the samples or the examples, or nothing.

    Args:
        tokens: number of visual tokens of each example.
    """
    points = layers + (getattr(finding, "axis", None) == "states")
    example = getattr(finding, "example", None)
    if example is not None and example not in tokens:
        return f"no example {example!r}"
    if isinstance(finding, LayerSeries):
        sizes = [("points", len(finding.mean), points)]
    elif isinstance(finding, HeadMap):
        sizes = [("layers", len(finding.mean), layers)]
    elif isinstance(finding, StateMatrix):
        sizes = [("rows", len(finding.mean), layers + 1), ("columns", _length(finding.mean), layers + 1)]
    elif isinstance(finding, SampleTable):
        columns = 1 if finding.axis is None else points
        sizes = [("samples", len(finding.values), samples), ("values a sample", _length(finding.values), columns)]
    elif isinstance(finding, Words | HeadWords):
        sizes = [("layers", len(finding.rows), points)]
    elif isinstance(finding, TokenMap):
        sizes = [("layers", len(finding.values), points), ("tokens", _length(finding.values), tokens[finding.example])]
    elif isinstance(finding, TokenWords):
        sizes = [("layers", len(finding.words), points), ("tokens", _length(finding.words), tokens[finding.example])]
    else:
        sizes = []
    for what, there, expected in sizes:
        if there != expected:
            return f"{'a varying number of' if there < 0 else there} {what} instead of {expected}"
    return ""


def _length(rows: Sequence[Sequence[Any]]) -> int:
    """The length of all rows; -1 if they differ."""
    lengths = {len(row) for row in rows}
    return lengths.pop() if len(lengths) == 1 else -1


def _rows(finding: AnyFinding, sample_ids: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if isinstance(finding, LayerSeries):
        for layer, (mean, low, high) in enumerate(zip(finding.mean, finding.low, finding.high, strict=True)):
            yield {"group": finding.group or None, "layer": layer, "value": mean, "low": low, "high": high}
    elif isinstance(finding, HeadMap):
        for layer, row in enumerate(finding.mean):
            yield from ({"layer": layer, "head": head, "value": value} for head, value in enumerate(row))
    elif isinstance(finding, StateMatrix):
        for layer, row in enumerate(finding.mean):
            for other, value in enumerate(row):
                yield {"group": finding.group or None, "layer": layer, "condition": str(other), "value": value}
    elif isinstance(finding, Bars):
        for condition, mean, low, high in zip(finding.conditions, finding.mean, finding.low, finding.high, strict=True):
            yield {"condition": condition, "value": mean, "low": low, "high": high}
    elif isinstance(finding, SampleTable):
        for sample, row in zip(sample_ids, finding.values, strict=True):
            for layer, value in enumerate(row):
                yield {"sample": sample, "layer": None if finding.axis is None else layer, "value": value}
    elif isinstance(finding, ScatterPoints):
        labels = finding.labels or (None,) * len(finding.x)
        for layer, x, y, label in zip(finding.layers, finding.x, finding.y, labels, strict=True):
            yield {"layer": layer, "condition": finding.x_title, "word": label, "value": x}
            yield {"layer": layer, "condition": finding.y_title, "word": label, "value": y}
    elif isinstance(finding, TokenMap):
        for layer, row in enumerate(finding.values):
            for token, value in enumerate(row):
                yield {"sample": finding.example, "layer": layer, "token": token, "value": value}
    elif isinstance(finding, Words):
        for layer, words in enumerate(finding.rows):
            for word, share in words:
                yield {"sample": finding.example, "layer": layer, "word": word, "value": share}
    elif isinstance(finding, HeadWords):
        for layer, heads in enumerate(finding.rows):
            for head, words in enumerate(heads):
                for word, share in words:
                    yield {"sample": finding.example, "layer": layer, "head": head, "word": word, "value": share}
    else:
        assert isinstance(finding, TokenWords)
        for layer, row_words in enumerate(finding.words):
            for token, word in enumerate(row_words):
                yield {"sample": finding.example, "layer": layer, "token": token, "word": word}
