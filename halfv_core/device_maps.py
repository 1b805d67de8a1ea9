"""Device maps that users write: which part of a model goes to which device, checked against the model itself.

{"model.visual": 0, "model.language_model": 1, "model.language_model.layers.20": "cpu", "lm_head": 1}
"""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from halfv_core.devices import available_devices, check_device
from halfv_core.errors import MAX_VALUE, ModelError, shortened
from halfv_core.files import read_text

Place = int | str
"""Index of a GPU, `cpu`, `disk`, or another device's name."""

OFFLOADED = ("cpu", "disk")
"""Where weights wait until a GPU needs them; without one, those on `cpu` are used where they are."""

_SHOWN = 3
"""Number of modules that a message names."""


def read_device_map(file: Path) -> dict[str, Place]:
    """The device map in a JSON file.

    Returns:
        Device by name of a module or a weight; that of "" is for all others.

    Raises:
        ModelError: the file cannot be read, is not an object of devices, or names a device that there is not.
    """
    try:
        content = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"cannot read the device map {shortened(str(file), MAX_VALUE)}",
            got=getattr(error, "strerror", None) or shortened(str(error), MAX_VALUE),
            expected='auto, balanced, balanced_low_0, sequential, or a JSON file such as {"": 0, "lm_head": "cpu"}',
        ) from None
    if not isinstance(content, dict) or not content:
        raise ModelError(
            f"{file} is not a device map", got=shortened(repr(content), MAX_VALUE), expected="module: device pairs"
        )
    return {name: _place(file, name, value) for name, value in content.items()}


def _place(file: Path, name: str, value: object) -> Place:
    if value == "disk":
        return "disk"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ModelError(
            f"the device map {file} names no device for {name!r}",
            got=shortened(repr(value), MAX_VALUE),
            expected='the index of a GPU, "cpu", "disk" or another name of a device',
        )
    try:
        device = check_device(f"cuda:{value}" if isinstance(value, int) else value)
    except ModelError:
        raise ModelError(
            f"the device map {file} names a device that there is not, for {name!r}",
            got=shortened(repr(value), MAX_VALUE),
            expected=" or ".join([*available_devices(), "disk"]),
        ) from None
    if device.type != "cuda":
        return str(device)
    return torch.cuda.current_device() if device.index is None else device.index


def fitted(given: Mapping[str, Place], model: PreTrainedModel, file: Path) -> dict[str, Place]:
    """The same map with no name inside another, so that transformers and accelerate read it alike.

    transformers takes `layers.1` for the beginning of `layers.10` as well, if the place of that is said further up.

    Args:
        given: by name of a module or a weight; a name further down overrides one above it.
        model: made without memory.
        file: for messages.

    Raises:
        ModelError: a name that the model does not have, a part that has no device, or a layer that would run on
            several devices.
    """
    known = {name for name, _ in chain(model.named_modules(remove_duplicate=False), _tensors_beside_modules(model))}
    unknown = given.keys() - known
    if unknown:
        first = next(name for name, _ in model.named_children())
        raise _unfit(file, f"what is no module of {type(model).__name__}", unknown, f"names as in {first}")
    places = dict(_without_nesting(model, "", given, None))
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise _unfit(file, "no device for parts of the model", missing, 'all of them; "" stands for the others')
    found = {name: place for name, place in places.items() if place is not None}
    main = next(iter(set(found.values()) - set(OFFLOADED)), "cpu")  # where accelerate brings the others
    _check_beside(model, found, main, file)
    _check_layers(model, found, main, file)
    return found


def _without_nesting(
    module: nn.Module, name: str, given: Mapping[str, Place], above: Place | None
) -> Iterator[tuple[str, Place | None]]:
    """The places of the parts of a module that have tensors; None for those that are given none."""
    place = given.get(name, above)
    prefix = f"{name}." if name else ""
    if not any(key.startswith(prefix) and key != name for key in given):
        if place is not None or _has_tensors(module):
            yield name, place
        return
    for part, _ in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
        yield prefix + part, given.get(prefix + part, place)
    for part, child in module.named_children():
        yield from _without_nesting(child, prefix + part, given, place)


def _has_tensors(module: nn.Module) -> bool:
    return next(chain(module.parameters(), module.buffers()), None) is not None


def _check_beside(model: PreTrainedModel, places: Mapping[str, Place], main: Place, file: Path) -> None:
    """Refuse to keep elsewhere what no hook of accelerate's brings in time.

    These are tensors with a place of their own, and those beside the layers, as LLaVA-NeXT's `image_newline`, which is
    used outside of a call of its module.
    """
    layers = _layers(model)
    stay = []
    for tensor, module in _tensors_beside_modules(model):
        place = next(place for name, place in places.items() if _inside(tensor, name))
        has_hook = tensor not in places and not any(layer != module and _inside(layer, module) for layer in layers)
        if place in OFFLOADED and place != main and not has_hook:
            stay.append(tensor)
    if stay:
        raise _unfit(file, "weights beside the modules, which cannot be brought from elsewhere", stay, f"on {main}")


def _tensors_beside_modules(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the tensors that modules with parts have themselves, and of these modules."""
    for name, module in model.named_modules():
        if next(module.children(), None) is not None:
            for part, _ in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
                yield (f"{name}.{part}" if name else part), name


def _check_layers(model: PreTrainedModel, places: Mapping[str, Place], main: Place, file: Path) -> None:
    """Refuse that the parts of a layer, whose results are added up, run on several devices."""
    for layer in _layers(model):
        runs_on = {main if place in OFFLOADED else place for name, place in places.items() if _inside(name, layer)}
        if len(runs_on) > 1:
            found = " and ".join(map(str, runs_on))
            raise ModelError(
                f"the device map {file} splits a layer", got=f"{layer} on {found}", expected="a device for each layer"
            )


def _layers(model: PreTrainedModel) -> list[str]:
    """Names of what has to run on one device, as transformers says."""
    whole = model._no_split_modules or ()
    return [name for name, module in model.named_modules() if type(module).__name__ in whole]


def _inside(name: str, module: str) -> bool:
    return not module or name == module or name.startswith(f"{module}.")


def _unfit(file: Path, fault: str, names: set[str] | list[str], expected: str) -> ModelError:
    shown = sorted(names)[:_SHOWN]
    more = ", ..." if len(names) > _SHOWN else ""
    return ModelError(
        f"the device map {file} has {fault}",
        got=shortened(", ".join(map(repr, shown)) + more, MAX_VALUE),
        expected=expected,
    )
