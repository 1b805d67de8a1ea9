"""Memory limits by device."""

import pytest

from halfv_core.devices import memory_limits
from halfv_core.errors import ModelError


@pytest.mark.parametrize(
    ("size", "found"),
    [("8GiB", 8 * 2**30), ("1.5 GB", 1_500_000_000), ("300KiB", 300 * 1024), ("1000", 1000), (1000, 1000), ("0B", 0)],
)
def test_sizes(size: int | str, found: int) -> None:
    assert memory_limits({"cpu": size})["cpu"] == found


def test_a_device_without_a_limit_has_the_room_that_is_free_on_it() -> None:
    assert memory_limits({})["cpu"] > 2**20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"banana": "1GiB"}, "of a device that there is not; got banana; expected"),
        ({99: "1GiB"}, "of a device that there is not; got 99; expected"),
        ({"disk": "1GiB"}, "of a device that there is not; got disk; expected"),
        ({"cpu": "-1GiB"}, "the memory limit of cpu is not a size; got -1GiB; expected as 8GiB or 500MB"),
        ({"cpu": "much"}, "the memory limit of cpu is not a size; got much"),
        ({"cpu": ""}, "the memory limit of cpu is not a size; got"),
    ],
)
def test_what_is_no_limit_is_refused(given: dict[int | str, int | str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        memory_limits(given)
