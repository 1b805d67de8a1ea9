"""Identity: everything that the results of a calibration depend on, as far as it is known before it starts."""

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.placement import device_of, stored_weight
from halfv_core.processors import PromptProcessor
from halfv_core.profile import config_fingerprint
from halfv_core.quantising import numbers_of
from halfv_core.wrappers import plain_model
from probe.data.samples import Sample, data_fingerprint

SAMPLED_VALUES = 256
"""Number of values of each weight that are hashed, evenly spaced."""

_PACKAGES = ("halfv-probe", "torch", "transformers", "nnsight", "numpy")


@dataclass(frozen=True)
class Identity:
    """Identity of a model with its processor, and of the drawn samples."""

    model: str
    """Name or path as the user gave it."""
    dtype: str
    """With what packed the weights, if they are quantised."""
    device: str
    versions: dict[str, str]
    """Package -> version."""
    config: str
    """sha256, like the following fields."""
    weights: str
    setup: str
    data: str

    @classmethod
    def of(
        cls, model: PreTrainedModel, processor: PromptProcessor, samples: Sequence[Sample], model_id: str = ""
    ) -> "Identity":
        """Compute the identity; reads the weights and all images.

        Args:
            model_id: name of the model, if it should not be the path that the model was loaded from.
        """
        return cls(
            model=model_id or str(model.config.name_or_path),
            dtype=numbers_of(model),
            device=str(device_of(model)),
            versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
            config=config_fingerprint(model.config),
            weights=weights_fingerprint(model),
            setup=setup_fingerprint(model, processor),
            data=data_fingerprint(samples),
        )

    def key(self, settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The key of the journal; results stored under another key belong to other work.

        Args:
            settings: what the results depend on beside the model and the samples.
        """
        return {
            "model": self.model,
            "dtype": self.dtype,
            "device": self.device,
            **settings,
            **self.versions,
            "config": self.config,
            "weights": self.weights,
            "setup": self.setup,
            "data": self.data,
        }


@torch.no_grad()
def weights_fingerprint(model: PreTrainedModel) -> str:
    """sha256 over names, shapes, dtypes and some values of all weights; training changes every value.

    Weights are the parameters, and what else the model saves: quantised weights in buffers, with their scales. Sharded
    weights are gathered, so every process of a tensor-parallel run must call this.

    Raises:
        ModelError: an offloaded weight cannot be found.
    """
    digest = hashlib.sha256()
    for name, weight in _weights(plain_model(model)):
        values = _spaced_values(weight)
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _weights(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and plain tensor of every weight: first the parameters, then what is saved beside them."""
    for name, parameter in model.named_parameters():
        yield from _plain_tensors(name, parameter, model)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, value in model.state_dict().items():
        if name not in parameters and isinstance(value, torch.Tensor):
            yield from _plain_tensors(name, value, model)


def _plain_tensors(name: str, weight: torch.Tensor, model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """A weight as plain tensors with memory: gathered if sharded, read if offloaded, taken apart if quantised."""
    weight = weight.detach()
    if hasattr(weight, "full_tensor"):  # DTensor
        weight = weight.full_tensor()
    if weight.is_meta:
        weight = stored_weight(model, name).to(weight.dtype)
    if hasattr(weight, "__tensor_flatten__"):
        for part in weight.__tensor_flatten__()[0]:
            yield from _plain_tensors(f"{name}.{part}", getattr(weight, part), model)
    else:
        yield name, weight


def _spaced_values(weight: torch.Tensor) -> torch.Tensor:
    """Up to `SAMPLED_VALUES` evenly spaced values: floating-point ones as float32, others as they are stored."""
    flattened = weight.reshape(-1)
    values = flattened[:: max(1, -(-flattened.numel() // SAMPLED_VALUES))]
    return values.float().cpu() if values.is_floating_point() else values.cpu().contiguous()


def setup_fingerprint(model: PreTrainedModel, processor: PromptProcessor) -> str:
    """sha256 over everything else that affects results: configs, image and video processor, template."""
    backend = processor.backend
    parts = [model.config, model.generation_config, backend.image_processor]
    # The settings of an image processor do not say what resizes the images.
    texts = [*(part.to_json_string() for part in parts), str(backend.chat_template), str(processor.image_backend())]
    if videos := processor.video_settings():
        texts.append(videos)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
