"""What every test runs under: no network, one thread, and the options that let the costly tests in.

pytest [--runslow] [--rungpu] [--runhub]
"""

import os

import pytest
import torch

from tests.flash import use_flash

COSTLY = {"slow": "takes minutes", "gpu": "needs an accelerator", "hub": "downloads a checkpoint"}


def pytest_addoption(parser: pytest.Parser) -> None:
    for marker, reason in COSTLY.items():
        parser.addoption(f"--run{marker}", action="store_true", help=f"also run tests marked {marker} ({reason})")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # tiny models: threads would only wait for each other
    if not config.getoption("--runhub"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for marker, reason in COSTLY.items():
            if item.get_closest_marker(marker) and not config.getoption(f"--run{marker}"):
                item.add_marker(pytest.mark.skip(reason=f"{reason}; run with --run{marker}"))


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention in plain torch; see `tests.flash`."""
    use_flash(monkeypatch)
