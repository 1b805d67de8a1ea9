"""Checkpoints that hold a PEFT adapter alone: which model it is for, and how it is added to that model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel
from transformers.utils.import_utils import is_peft_available
from transformers.utils.peft_utils import find_adapter_config_file

from halfv_core.checkpoint_weights import check_weights
from halfv_core.errors import ModelError
from halfv_core.placement import device_of


class Adapter(NamedTuple):
    """An adapter, which is loaded on top of a base model."""

    source: str
    """Folder or hub id of the adapter."""
    base: str
    """Name of the model that it was trained for, as its `adapter_config.json` says."""
    offline: bool

    @classmethod
    def find(cls, source: str, offline: bool) -> "Adapter | None":
        """The adapter in a folder or repository; None if it holds a model.

        Raises:
            ModelError: peft is not installed, the adapter's config cannot be used, or there is a model beside it.
        """
        file = find_adapter_config_file(source, local_files_only=offline)
        if file is None:
            return None
        if not is_peft_available():
            raise ModelError(f"{source} is a PEFT adapter, and peft is not installed", remedy="pip install peft")
        try:
            base = json.loads(Path(file).read_text(encoding="utf-8")).get("base_model_name_or_path")
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(f"the adapter_config.json of {source} cannot be read ({error})") from None
        if not isinstance(base, str) or not base:
            raise ModelError(
                f"the adapter {source} does not say which model it is for",
                expected="base_model_name_or_path in its adapter_config.json",
            )
        if (Path(file).parent / "config.json").is_file():
            raise ModelError(
                f"{source} holds a model and an adapter, whose weights cannot be told apart",
                remedy="move adapter_config.json and adapter_model.safetensors to a folder of their own",
            )
        return cls(source, base, offline)

    def add_to(self, model: PreTrainedModel) -> None:
        """Load the adapter's weights into its base model.

        Raises:
            ModelError: weights of the adapter are missing or left over.
        """
        load: Any = model.load_adapter
        options = {"local_files_only": self.offline}
        with _nothing_offloaded(model):
            info = load(self.source, adapter_kwargs=options, ignore_mismatched_sizes=True)
        check_weights(f"the adapter {self.source}", f"an adapter of {type(model).__name__}", info.to_dict())


@contextmanager
def _nothing_offloaded(model: Any) -> Iterator[None]:
    """Inside the block, adapters are loaded to where offloaded layers run: no hook would bring their weights there."""
    places: dict[str, int | str | torch.device] | None = getattr(model, "hf_device_map", None)
    if places is None:
        yield
        return
    runs_on = device_of(model)
    model.hf_device_map = {name: runs_on if place in ("cpu", "disk") else place for name, place in places.items()}
    try:
        yield
    finally:
        model.hf_device_map = places
