"""The sizes of a model by its name, without its weights."""

from pathlib import Path
from typing import NamedTuple

from transformers import AutoConfig, PreTrainedConfig

from halfv_core.checkpoint_size import described_size
from halfv_core.errors import ModelError
from halfv_core.failures import reason_of
from halfv_core.models import MODEL_NAMES, resolve
from probe.bench.synthetic import config_of, shipped_shapes
from probe.estimate.sizes import KNOWN, VALUE_BYTES, ModelSizes, sizes_of


class Found(NamedTuple):
    """The sizes of a model."""

    sizes: ModelSizes
    dtype: str
    source: str
    """Where the sizes are from: config.json, or built in."""


def find_sizes(name: str, dtype: str = "auto") -> Found:
    """Look a model up: its config.json in a folder or the hub's cache, or else the sizes that are built in.

    Args:
        name: a short name, a bundled model, a folder or a hub id; nothing is downloaded.
        dtype: in `VALUE_BYTES`, or `auto`: that of the config, float32 if it names none, and bfloat16 of what is built
            in.

    Raises:
        ModelError: nothing is known of the model, or no model can be made of its config.
    """
    if dtype != "auto" and dtype not in VALUE_BYTES:
        raise ModelError("unknown dtype", got=dtype, expected=" or ".join(["auto", *VALUE_BYTES]))
    config, source = _config(name)
    if config is None:
        short = next((short for short, hub_id in MODEL_NAMES.items() if name in (short, hub_id)), "")
        if short not in KNOWN:
            raise ModelError(
                f"no config.json of {name} is at hand, and its sizes are not built in",
                expected="a folder, a model in the hub's cache, or a short name of `halfv-probe estimate --list`",
                remedy=f"download its config.json: hf download {name} config.json",
            )
        chosen = "bfloat16" if dtype == "auto" else dtype
        return Found(KNOWN[short].in_dtype(chosen), chosen, "built in")
    unnamed = "bfloat16" if source == "built in" else "float32"
    own = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None) or unnamed
    chosen = str(own).removeprefix("torch.") if dtype == "auto" else dtype
    try:
        return Found(sizes_of(config, described_size(config)[0], chosen), chosen, source)
    except (AttributeError, KeyError, ValueError) as error:
        raise ModelError(f"no vision-language model can be made of the config of {name} ({reason_of(error)})") from None


def _config(name: str) -> tuple[PreTrainedConfig | None, str]:
    """The config, if it is at hand, and where it is from."""
    if name in shipped_shapes():
        return config_of(name), "built in"
    place = resolve(name)
    if Path(place).is_dir():
        return config_of(name), "config.json"
    try:
        return AutoConfig.from_pretrained(place, local_files_only=True), "config.json"
    except OSError:
        return None, ""
    except Exception as error:
        raise ModelError(f"the config of {name} cannot be read ({reason_of(error)})") from None
