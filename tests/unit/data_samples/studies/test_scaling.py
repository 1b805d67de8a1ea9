"""The simulation of more processes than there are here, and the table that comes from it."""

import pytest

from data_samples.studies import scaling
from data_samples.studies.scaling import RANKS, SCALE_PAGE, Scaling, Task, makespan, simulated
from data_samples.studies.tables import read_table

FOUND = Scaling(
    model="m",
    processor="p",
    torch="2",
    created="2026-11-26T20:22:09+00:00",
    measured={1: 100.0, 2: 60.0},
    calibration=(Task(name="a", seconds=(2.0,) * 10, bytes=1000), Task(name="b", seconds=(1.0,) * 4, bytes=500)),
    serial=3.0,
    evaluation=Task(name="evaluation", seconds=(0.5, 1.5), bytes=10),
    throughput=1000.0,
)


@pytest.mark.parametrize(
    ("seconds", "ranks", "expected"),
    [
        ([3.0, 1.0, 1.0, 1.0], 1, 6.0),
        ([3.0, 1.0, 1.0, 1.0], 2, 3.0),
        ([1.0, 1.0, 1.0, 3.0], 2, 4.0),  # the long one last
        ([2.0, 2.0, 2.0], 2, 4.0),
        ([1.0, 2.0], 9, 2.0),
        ([], 3, 0.0),
    ],
)
def test_each_item_goes_to_the_process_that_is_free_first(seconds: list[float], ranks: int, expected: float) -> None:
    assert makespan(seconds, ranks) == expected


def test_what_one_process_does_alone_and_what_it_collects_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "LONGEST_PAUSE", 0.25)
    tasks = FOUND.calibration
    assert simulated(tasks, 3.0, 1000.0, 1) == 3.0 + 20.0 + 4.0
    assert simulated(tasks, 3.0, 1000.0, 2) == 3.0 + 1.5 + 0.5 + 10.0 + 2.0
    assert simulated(tasks, 3.0, 1000.0, 10) == 3.0 + 1.5 + 0.5 + 2.0 + 1.0
    assert simulated(tasks, 3.0, 1000.0, 10, factor=100.0) == 3.0 + 1.5 + 0.5 + 200.0 + 100.0


def test_the_table_has_a_row_for_each_number_of_processes() -> None:
    lines = scaling.table(FOUND).splitlines()
    assert "100 s in one process, 60 s in two (efficiency 83%; p, torch 2, 2026-11-26)" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[5:]] == [str(ranks) for ranks in RANKS]
    assert lines[5].count("1.0x (100%)") == 4


def test_the_page_has_a_place_for_the_table() -> None:
    written = read_table(scaling.COMMAND, SCALE_PAGE)
    assert not written or written == scaling.table(Scaling.model_validate_json(scaling.RECORD.read_text()))
