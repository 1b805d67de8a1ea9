"""What every test runs under: no network, one thread, and the options that let the costly tests in.

pytest [--runslow] [--rungpu] [--runhub]
"""

import os
from types import ModuleType

import pytest

READ_IMAGES = {
    "halfv_core.models",
    "halfv_core.processors",
    "probe.capture.regions.base",
    "probe.data.decoding",
    "probe.data.images",
    "tests.checkpoints",
    "tests.position_colours",
}
"""Modules whose functions and classes load processors, run them or prepare what they get."""

ABOUT_OTHERS = {
    "tests.contract.test_data_parallel",
    "tests.contract.test_tensor_parallel",
    "tests.unit.cli.test_bad_checkpoints",
    "tests.unit.cli.test_bad_options",
    "tests.unit.cli.test_calibrate_resume",
    "tests.unit.cli.test_calibrate_targets",
    "tests.unit.cli.test_demo",
    "tests.unit.cli.test_estimate",
    "tests.unit.cli.test_quick_start",
    "tests.unit.cli.test_stopped",
    "tests.unit.cli.test_torchrun",
    "tests.unit.cli.test_usage",
    "tests.unit.data_samples.making.test_training",
    "tests.unit.probe.calibration.budget.test_control",
    "tests.unit.probe.calibration.test_degenerate",
    "tests.unit.probe.calibration.test_resume",
    "tests.unit.probe.test_offloaded",
    "tests.unit.test_wheel",
}
"""Modules that use processors, but test what is the same with any of them, and take long."""

COSTLY = {"slow": "takes minutes", "gpu": "needs an accelerator", "hub": "downloads a checkpoint"}


def pytest_addoption(parser: pytest.Parser) -> None:
    for marker, reason in COSTLY.items():
        parser.addoption(f"--run{marker}", action="store_true", help=f"also run tests marked {marker} ({reason})")


def pytest_configure(config: pytest.Config) -> None:
    # Tiny models: threads would only wait for each other. Also those of numpy, of the workers and of started commands.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    if not config.getoption("--runhub"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def reads_images(module: ModuleType) -> bool:
    """Whether the tests of a module have to do with processors, which torchvision changes: by what the module imports.

    Commands are run as processes or through `cli`, so all of their tests count.
    """
    if module.__name__ in ABOUT_OTHERS:
        return False
    owners = {getattr(value, "__module__", None) for value in vars(module).values()}
    return module.__name__.startswith("tests.unit.cli.") or not owners.isdisjoint(READ_IMAGES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and reads_images(item.module):
            item.add_marker("processors")
        for marker, reason in COSTLY.items():
            if item.get_closest_marker(marker) and not config.getoption(f"--run{marker}"):
                item.add_marker(pytest.mark.skip(reason=f"{reason}; run with --run{marker}"))


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention in plain torch; see `tests.flash`."""
    from tests.flash import use_flash

    use_flash(monkeypatch)
