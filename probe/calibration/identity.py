"""Identity: everything that the results of a calibration depend on, as far as it is known before it starts."""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from pydantic import JsonValue
from transformers import PreTrainedModel

from halfv_core.processors import PromptProcessor
from halfv_core.profile import config_fingerprint
from probe.calibration.settings import Settings
from probe.data.samples import Sample, data_fingerprint

SAMPLED_VALUES = 256
"""Number of values of each parameter that are hashed, evenly spaced."""

_PACKAGES = ("halfv-probe", "torch", "transformers", "nnsight", "numpy")


@dataclass(frozen=True)
class Identity:
    """Identity of a model with its processor, and of the drawn samples."""

    model: str
    """Name or path as the user gave it."""
    dtype: str
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
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(model.device),
            versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
            config=config_fingerprint(model.config),
            weights=weights_fingerprint(model),
            setup=setup_fingerprint(model, processor),
            data=data_fingerprint(samples),
        )

    def key(self, settings: Settings) -> dict[str, JsonValue]:
        """The key of the journal; results stored under another key belong to another calibration."""
        return {
            "model": self.model,
            "dtype": self.dtype,
            "device": self.device,
            **settings.model_dump(mode="json"),
            **self.versions,
            "config": self.config,
            "weights": self.weights,
            "setup": self.setup,
            "data": self.data,
        }


@torch.no_grad()
def weights_fingerprint(model: PreTrainedModel) -> str:
    """sha256 over names, shapes, dtypes and some values of all parameters; training changes every value."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flattened = parameter.detach().reshape(-1)
        values = flattened[:: max(1, -(-flattened.numel() // SAMPLED_VALUES))].float().cpu()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def setup_fingerprint(model: PreTrainedModel, processor: PromptProcessor) -> str:
    """sha256 over everything else that affects results: config, generation config, image processor, template."""
    backend = processor.backend
    parts = [model.config, model.generation_config, backend.image_processor]
    texts = [*(part.to_json_string() for part in parts), str(backend.chat_template)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
