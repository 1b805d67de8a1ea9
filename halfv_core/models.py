"""Model names, and loading a model with its processor, offline or from the hub.

model, processor, name = load_model("qwen2.5-vl-7b")
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from halfv_core.bundled import BUNDLED
from halfv_core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from halfv_core.processors import PromptProcessor

MODEL_NAMES: dict[str, str] = {
    "qwen2-vl-2b": "Qwen/Qwen2-VL-2B-Instruct",
    "qwen2-vl-7b": "Qwen/Qwen2-VL-7B-Instruct",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen2.5-vl-32b": "Qwen/Qwen2.5-VL-32B-Instruct",
    "qwen2.5-vl-72b": "Qwen/Qwen2.5-VL-72B-Instruct",
    "qwen3-vl-2b": "Qwen/Qwen3-VL-2B-Instruct",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-1.5-13b": "llava-hf/llava-1.5-13b-hf",
    "llava-next-mistral-7b": "llava-hf/llava-v1.6-mistral-7b-hf",
    "llava-onevision-7b": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "internvl3-1b": "OpenGVLab/InternVL3-1B-hf",
    "internvl3-8b": "OpenGVLab/InternVL3-8B-hf",
    "mistral-small-3.1-24b": "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
    "idefics3-8b": "HuggingFaceM4/Idefics3-8B-Llama3",
    "smolvlm-2b": "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
    "gemma3-4b": "google/gemma-3-4b-it",
}
"""Short name -> hub id."""

DTYPES = ("auto", "float32", "bfloat16", "float16")


class LoadedModel(NamedTuple):
    """A model ready to run, with what turns images and questions into its inputs."""

    model: "PreTrainedModel"
    processor: "PromptProcessor"
    name: str
    """As the user gave it."""


def bundled_models() -> dict[str, Path]:
    """Name -> folder of the small trained models that ship with the package."""
    return {path.parent.name: path.parent for path in sorted((BUNDLED / "models").glob("*/config.json"))}


def resolve(name: str) -> str:
    """The folder or hub id behind a name: bundled, short, a path, or a hub id as it is.

    Raises:
        ModelError: nothing of these.
    """
    bundled = bundled_models()
    if name in bundled:
        return str(bundled[name])
    if name in MODEL_NAMES:
        return MODEL_NAMES[name]
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{name} is not a checkpoint", got="a folder without config.json")
        return str(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    known = ", ".join([*bundled, *MODEL_NAMES])
    raise ModelError(
        f"no model '{name}'",
        expected=f"a folder, a hub id (owner/name), or one of {known}",
        remedy=None if bundled else f"there are no bundled models in {BUNDLED / 'models'}: reinstall halfv-probe",
    )


def load_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a model and its processor for inference.

    Args:
        name: a bundled name, a short name of `MODEL_NAMES`, a folder, or a hub id.
        dtype: `auto` (the checkpoint's own), `float32`, `bfloat16` or `float16`.
        device: `auto` (all GPUs there are, else the CPU), or a torch device.

    Raises:
        ModelError: unknown name, unreadable checkpoint, or no network and not in the local cache.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    from halfv_core.processors import load_processor

    if dtype not in DTYPES:
        raise ModelError("unknown dtype", got=dtype, expected=" or ".join(DTYPES))
    source = resolve(name)
    offline = Path(source).is_dir() or not hub_answers()
    spread = device == "auto" and torch.cuda.is_available()
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
            local_files_only=offline,
            device_map="auto" if spread else None,
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise _cannot_load(name, source, error, offline) from None
    if not spread:
        model = model.to("cpu" if device == "auto" else device)
    return LoadedModel(model.eval(), load_processor(source, trust_remote_code, offline), name)


def hub_answers() -> bool:
    """One quick question instead of the hub client's minute of retries for every file."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # noqa: BLE001 - every transport has its own error classes, and all mean the same here
        return False
    return True


def _cannot_load(name: str, source: str, error: Exception, offline: bool) -> ModelError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if Path(source).is_dir():
        return ModelError(f"cannot load the checkpoint {name} ({reason})")
    if offline:
        reason = "no network, and not whole in the local cache"
    return ModelError(
        f"cannot get {source} from the hub ({reason})",
        remedy="connect to the network, or download the checkpoint elsewhere and pass its folder: --model /path/to/it",
    )
