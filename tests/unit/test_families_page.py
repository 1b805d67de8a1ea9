"""docs/families.md says what the tests say, of every class."""

import pytest
from transformers import __version__

from data_samples.studies.families import NAMES, PAGE, TABLES
from data_samples.studies.tables import read_table
from halfv_core.families import FAMILIES
from halfv_core.families.unsupported import UNSUPPORTED
from tests.tiny_classes import CLASSES, UNTRIED

pytestmark = pytest.mark.skipif(not __version__.startswith("5.23."), reason="the page is about transformers 5.23")


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_in_step(name: str) -> None:
    assert read_table(name, PAGE) == f"\n{TABLES[name]()}\n", "make families"


def test_every_class_stands_somewhere_and_only_there() -> None:
    places = [FAMILIES.keys(), CLASSES.keys(), UNSUPPORTED.keys(), UNTRIED.keys()]
    assert sorted(name for place in places for name in place) == sorted(NAMES)
