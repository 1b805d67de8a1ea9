"""What `make probes` ships: analyses of all probes and models, and the table in the document."""

import pytest

from data_samples.studies import probes
from data_samples.studies.tables import read_table
from halfv_core.models import bundled_models
from halfv_core.profile import Profile
from probe import Analysis
from probe.analysis.analyze import chosen_probes

RECORDS = {one.provenance.model_id: one for one in probes.read_records()}


def test_every_bundled_model_has_an_analysis_by_all_probes() -> None:
    assert sorted(RECORDS) == sorted(bundled_models())
    for name, found in RECORDS.items():
        assert tuple(result.name for result in found.results) == chosen_probes(())
        assert len(found.sample_ids) == probes.SAMPLES and not found.examples
        assert found.stages == Profile.load(probes.PROFILES / f"{name}.json").stages


def test_the_page_has_the_table_of_the_records() -> None:
    assert read_table(probes.COMMAND, probes.PAGE) == probes.table(list(RECORDS.values()))
    assert probes.table([]) == ""


@pytest.mark.parametrize("found", RECORDS.values(), ids=list(RECORDS))
def test_cells_say_what_the_findings_say(found: Analysis) -> None:
    cells = {name: cell(found) for name, cell in probes.ROWS}
    dips = found.result("knockout").finding("question_last_percent").mean
    deepest = min(range(len(dips)), key=dips.__getitem__)
    assert cells["knock-out, question to last: deepest dip"] == f"{dips[deepest]:.0f} %, layer {deepest}"
    costs = found.result("drop_from").finding("change").mean
    first = int(cells["dropping the image costs below 0.1 nats from"].removeprefix("layer "))
    assert all(abs(cost) < 0.1 for cost in costs[first:]) and abs(costs[first - 1]) >= 0.1
