"""Public names that are imported when they are first asked for are the same objects, and a wrong name is an error."""

import importlib

import pytest

import halfv_core
import probe
from halfv_core.lazy import lazy_names
from halfv_core.runtime.run import apply


def test_the_name_is_the_object_and_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(halfv_core, "apply", raising=False)
    assert halfv_core.apply is apply
    assert vars(halfv_core)["apply"] is apply


@pytest.mark.parametrize("package", [halfv_core, probe])
def test_a_wrong_name_is_an_attribute_error(package: object) -> None:
    with pytest.raises(AttributeError, match=r"module '(halfv_core|probe)' has no attribute 'nonsense'"):
        package.nonsense  # type: ignore[attr-defined] # noqa: B018


def test_a_function_is_not_shadowed_by_the_room_it_comes_from() -> None:
    importlib.import_module("probe.calibration.calibrate")
    assert callable(probe.calibrate) and callable(probe.ablate)


def test_the_listing_has_what_was_not_imported_yet() -> None:
    _, names = lazy_names("halfv_core.lazy", {"never_imported": "no_such_module"})
    assert "never_imported" in names() and "lazy_names" in names()
