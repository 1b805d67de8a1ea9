"""What the probes say about the bundled models, beside the stages of the shipped profiles.

    make probes             # or: python -m data_samples.studies.probes --model tiny-llava

Runs all probes on 40 of the bundled scenes. The analyses, with a page for each, go to runs/probes; without examples
they are data_samples/analyses, which the table of docs/probes.md comes from. A run that was stopped goes on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from cli.common import load_quietly, progress_bar
from data_samples.studies.results import PROFILES
from data_samples.studies.tables import markdown, write_table
from halfv_core import Profile
from halfv_core.bundled import BUNDLED
from halfv_core.models import bundled_models
from probe import Analysis, analyze, load_samples
from probe.analyzers.findings import Bars, LayerSeries
from probe.report.analysis_page import write_analysis_page

COMMAND = "make probes"
DATA = "scenes"
SAMPLES = 40
OUTPUT = Path("runs/probes")
RECORDS = BUNDLED / "analyses"
PAGE = Path(__file__).parents[2] / "docs" / "probes.md"
HARMLESS = 0.01
"""Nats of divergence below which a change counts as harmless."""
NO_LONGER_NEEDED = 0.1
"""Nats likewise, of log-probability."""


def main(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated. [default: all bundled models]")] = None,
) -> None:
    """Run all probes, and write the analyses, their pages and the table."""
    torch.set_num_threads(1)
    RECORDS.mkdir(exist_ok=True)
    for name in model or sorted(bundled_models()):
        found = measured(name)
        write_analysis_page(found, OUTPUT / f"{name}.html")
        without_examples(found).save(RECORDS / f"{name}.json")
    write_table(COMMAND, table(read_records()), PAGE)


def measured(model: str) -> Analysis:
    """All probes on one bundled model; also written into the folder of runs."""
    loaded = load_quietly(model, "auto", "cpu", False)
    output = OUTPUT / f"{model}.json"
    journal = output.with_name(f"{output.name}.unfinished")
    with progress_bar() as on_progress:
        found = analyze(
            loaded.model,
            loaded.processor,
            load_samples(DATA),
            count=SAMPLES,
            profile=Profile.load(PROFILES / f"{model}.json"),
            model_id=model,
            data=DATA,
            arguments={"model": model, "data": DATA, "samples": SAMPLES},
            journal=journal,
            on_progress=on_progress,
        )
    found.save(output)
    journal.unlink()
    return found


def without_examples(found: Analysis) -> Analysis:
    """The analysis without images and what belongs to single examples."""
    kinds = ("map", "words", "token_words", "head_words", "points")
    results = (
        result.model_copy(update={"findings": tuple(one for one in result.findings if one.kind not in kinds)})
        for result in found.results
    )
    return found.model_copy(update={"examples": (), "results": tuple(results)})


def read_records() -> list[Analysis]:
    """The shipped analyses, by model."""
    return [Analysis.load(path) for path in sorted(RECORDS.glob("*.json"), key=lambda path: path.stem)]


def table(found: Sequence[Analysis]) -> str:
    """Markdown: a column for each model; empty without analyses."""
    if not found:
        return ""
    head = ["", *(f"`{one.provenance.model_id}`" for one in found)]
    return markdown(head, [[name, *map(cell, found)] for name, cell in ROWS])


def _series(one: Analysis, probe: str, finding: str) -> LayerSeries:
    series = one.result(probe).finding(finding)
    assert isinstance(series, LayerSeries)
    return series


def _bar(probe: str, finding: str, condition: str) -> Callable[[Analysis], str]:
    def cell(one: Analysis) -> str:
        bars = one.result(probe).finding(finding)
        assert isinstance(bars, Bars)
        return f"{bars.mean[bars.conditions.index(condition)]:.2f}"

    return cell


def _stages(one: Analysis) -> str:
    assert one.stages is not None
    third = one.stages.saturation_start
    return f"layer {one.stages.aggregation_start}, {'none' if third is None else f'layer {third}'}"


def _visipruner(one: Analysis) -> str:
    bars = one.result("contribution").finding("stages")
    assert isinstance(bars, Bars)
    return ", ".join("none" if mean >= one.layers else f"layer {mean:g}" for mean in bars.mean)


def _deepest(finding: str) -> Callable[[Analysis], str]:
    def cell(one: Analysis) -> str:
        mean = _series(one, "knockout", finding).mean
        return f"{min(mean):.0f} %, layer {mean.index(min(mean))}"

    return cell


def _from(probe: str, finding: str, harmless: float) -> Callable[[Analysis], str]:
    """The first layer from which on a change never costs more than that."""

    def cell(one: Analysis) -> str:
        costs = [abs(value) for value in _series(one, probe, finding).mean]
        late = next((layer for layer in range(len(costs)) if max(costs[layer:]) < harmless), None)
        return "none" if late is None or late >= one.layers else f"layer {late}"

    return cell


def _crossing(probe: str, finding: str, *, rising: bool) -> Callable[[Analysis], str]:
    """The first state in which restoring these tokens gives half of the information, or the last one."""

    def cell(one: Analysis) -> str:
        shares = _series(one, probe, finding).mean
        above = [index for index, share in enumerate(shares) if share >= 0.5]
        return "none" if not above else f"state {min(above) if rising else max(above)}"

    return cell


def _agreed(one: Analysis) -> str:
    shares = _series(one, "answer_tracking", "agreement").mean
    return f"state {next(index for index in range(len(shares)) if min(shares[index:]) >= 0.95)}"


def _image_share(one: Analysis) -> str:
    shares = _series(one, "shares", "share_visual").mean
    return f"{max(shares):.2f}, layer {shares.index(max(shares))}"


ROWS: tuple[tuple[str, Callable[[Analysis], str]], ...] = (
    ("HalfV's Stages II and III (profile)", _stages),
    ("VisiPruner's middle and deep stage", _visipruner),
    ("image's largest share of the last token's attention", _image_share),
    ("top token of the lens is the final one in 95 % of samples from", _agreed),
    ("knock-out, image to question: deepest dip", _deepest("image_question_percent")),
    ("knock-out, image to last: deepest dip", _deepest("image_last_percent")),
    ("knock-out, question to last: deepest dip", _deepest("question_last_percent")),
    ("visual tokens hold half of the information until", _crossing("patching", "recovered_visual", rising=False)),
    ("last token holds half of it from", _crossing("patching", "recovered_last", rising=True)),
    (
        "visual tokens hold half of what two images differ in until",
        _crossing("image_patching", "restored_visual", rising=False),
    ),
    ("last token holds half of that difference from", _crossing("image_patching", "restored_last", rising=True)),
    ("freezing one layer costs below 0.01 nats from", _from("layer_contribution", "freeze_visual", HARMLESS)),
    ("dropping the image costs below 0.1 nats from", _from("drop_from", "change", NO_LONGER_NEEDED)),
    ("first token kept without the image in layers 0-2", _bar("shallow_block", "kept", "layers 0-2")),
    ("... without its 10 % most attended tokens there", _bar("shallow_block", "kept", "top 10 %")),
    ("... without the other 90 %", _bar("shallow_block", "kept", "other 90 %")),
    ("first token kept with the top 10 % hidden everywhere", _bar("token_ablation", "hidden_kept", "top 10 %")),
    ("... with the top 10 % by gradient", _bar("token_ablation", "hidden_kept", "top 10 % by gradient")),
    ("... with a random 10 %", _bar("token_ablation", "hidden_kept", "random 10 %")),
    ("... with all", _bar("token_ablation", "hidden_kept", "all")),
)
"""Label of each row, and the text of its cells."""


if __name__ == "__main__":
    typer.run(main)
