"""Model names, and loading a model with its processor, offline or from the hub.

model, processor, name = load_model("qwen2.5-vl-7b")
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from halfv_core.bundled import BUNDLED
from halfv_core.checkpoint_weights import check_weights
from halfv_core.errors import MAX_VALUE, HalfVError, ModelError, RunError, shortened
from halfv_core.failures import is_out_of_memory, reason_of
from halfv_core.hub import hub_answers

if TYPE_CHECKING:
    import torch
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
    path = Path(os.path.expanduser(name))
    if name and os.path.isdir(path):  # noqa: PTH112 - no error for what can be no path
        if not any((path / file).is_file() for file in ("config.json", "adapter_config.json")):
            raise ModelError(f"{name} is not a checkpoint", got="a folder without config.json")
        return str(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    known = ", ".join([*bundled, *MODEL_NAMES])
    raise ModelError(
        f"no model {shortened(repr(name), MAX_VALUE)}",
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
    max_memory: Mapping[int | str, int | str] | None = None,
) -> LoadedModel:
    """Load a model and its processor for inference, and make sure that all weights are the checkpoint's.

    Args:
        name: a bundled name, a short name of `MODEL_NAMES`, a folder, or a hub id; of a model, or of a PEFT adapter.
        dtype: `auto` (the checkpoint's own), `float32`, `bfloat16` or `float16`.
        device: `auto` (all GPUs there are, then the CPU's memory and the disk, from where weights are brought when they
            are needed; without a GPU the CPU), or a torch device.
        max_memory: what weights may take of each device's memory, by GPU index or `cpu`, such as
            `{0: "10GiB", "cpu": "30GiB"}`; for `device="auto"`. The rest is read from disk while the model runs.

    Raises:
        ModelError: unknown name, dtype, device or memory limit; a checkpoint that cannot be read, or whose weights are
            not those of its architecture; or no network and not in the local cache.
        RunError: out of memory.
    """
    from halfv_core.adapters import Adapter
    from halfv_core.devices import memory_limits
    from halfv_core.processors import load_processor

    target = check_request(name, dtype, device, max_memory)
    limits = None if max_memory is None else memory_limits(max_memory)
    options = {"dtype": dtype, "attn_implementation": attn_implementation, "trust_remote_code": trust_remote_code}
    checkpoint = _Source.of(name)
    try:
        adapter = Adapter.find(checkpoint.place, checkpoint.offline)
        base = checkpoint if adapter is None else _Source.of(adapter.base)
        model = _read_model(base, target, options, limits)
        if adapter is not None:
            adapter.add_to(model)
        _check_generation(base, model)
        model.config._commit_hash = base.revision()  # where versions of transformers that record it do
        prompts = checkpoint if adapter is None or checkpoint.has_processor() else base
    except HalfVError:
        raise
    except Exception as error:
        raise _cannot_load(checkpoint, error) from None
    return LoadedModel(model.eval(), load_processor(prompts.place, trust_remote_code, prompts.offline), name)


def check_request(
    name: str,
    dtype: str = "auto",
    device: str = "auto",
    max_memory: Mapping[int | str, int | str] | None = None,
) -> "torch.device | None":
    """What `load_model` can refuse at once, before a file is read; takes what `load_model` takes.

    Returns:
        The device; None for `auto`.

    Raises:
        ModelError: unknown name, dtype or device, or memory limits that cannot be kept.
    """
    from halfv_core.devices import check_device, memory_limits

    if dtype not in DTYPES:
        raise ModelError("unknown dtype", got=dtype, expected=" or ".join(DTYPES))
    target = None if device == "auto" else check_device(device)
    if max_memory is not None and target is not None:
        raise ModelError("memory limits are for a model that may be spread", got=f"device {device}", expected="auto")
    if max_memory is not None:
        memory_limits(max_memory)
    resolve(name)
    return target


class _Source(NamedTuple):
    """Where the files of a checkpoint are."""

    name: str
    """As the user or an adapter gave it."""
    place: str
    """Folder or hub id."""
    offline: bool
    """Whether nothing may be requested from the hub."""

    @classmethod
    def of(cls, name: str) -> "_Source":
        place = resolve(name)
        return cls(name, place, Path(place).is_dir() or not hub_answers())

    def has_file(self, name: str) -> bool:
        return self.file(name) is not None

    def file(self, name: str) -> Path | None:
        """Where one of the files is on this machine, downloaded if need be; None if there is no such file."""
        from transformers.utils.hub import cached_file

        found: str | None = cached_file(
            self.place,
            name,
            local_files_only=self.offline,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if found is None else Path(found)

    def check_config(self, trust_remote_code: bool) -> None:
        """Raise ModelError if config.json describes a larger model than the checkpoint is."""
        from halfv_core.checkpoint_size import check_counts, check_size

        config = self.file("config.json")
        if config is not None:
            check_counts(self.name, config)
            check_size(self.name, config.parent, trust_remote_code)

    def revision(self) -> str | None:
        """The commit of the hub's repository that the files are from; None for a folder."""
        config = None if Path(self.place).is_dir() else self.file("config.json")
        return None if config is None or config.parent.parent.name != "snapshots" else config.parent.name

    def has_processor(self) -> bool:
        return self.has_file("processor_config.json") or self.has_file("preprocessor_config.json")


def _read_model(
    source: _Source, target: "torch.device | None", options: dict[str, Any], limits: dict[int | str, int] | None
) -> "PreTrainedModel":
    """Read a model to one device, or with None to wherever there is room, and check its weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    devices: Any = "auto" if target is None and (torch.cuda.is_available() or limits) else None
    if target is not None and target.type != "cpu":
        devices = {"": target}
    source.check_config(options["trust_remote_code"])
    # Weights of another shape are let through here, and named by the check.
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        source.place,
        **options,
        local_files_only=source.offline,
        device_map=devices,
        max_memory=limits,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    model, info = loaded
    check_weights(source.name, type(model).__name__, info)
    return model  # type: ignore[no-any-return]


def _check_generation(source: _Source, model: "PreTrainedModel") -> None:
    """Refuse a checkpoint whose generation config transformers passed over, or that names no end of answers."""
    from transformers import GenerationConfig

    has_config = source.has_file("generation_config.json")
    if has_config:
        GenerationConfig.from_pretrained(source.place, local_files_only=source.offline)
    end = None if model.generation_config is None else model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    if any(not isinstance(token, int) for token in ends) and not (end is None and has_config):
        raise ModelError(
            f"{source.name} does not say which token ends an answer",
            got=f"eos_token_id {end}",
            expected="one or several token ids in generation_config.json or config.json",
        )


def _cannot_load(source: _Source, error: Exception) -> HalfVError:
    if is_out_of_memory(error):
        return RunError(
            f"out of memory while {source.name} was loaded ({reason_of(error)})",
            remedy="use --dtype bfloat16, a smaller model, or --device auto --max-memory cpu=8GiB (or what there is), "
            "which leaves on disk what does not fit",
        )
    reason = reason_of(error)
    if "trust_remote_code" in str(error):
        return ModelError(
            f"{source.name} brings code of its own, which is not run unasked",
            remedy="read that code, then add --trust-remote-code",
        )
    if "offload_folder" in str(error):
        return ModelError(
            f"parts of {source.name} would have to stay on disk, and its files cannot be read part by part",
            got="other files than safetensors",
            remedy="save the checkpoint again with save_pretrained, or let more of it into memory by --max-memory",
        )
    if Path(source.place).is_dir():
        return ModelError(f"cannot load the checkpoint {source.name} ({reason})")
    if source.offline:
        reason = "no network, and not whole in the local cache"
    return ModelError(
        f"cannot get {source.place} from the hub ({reason})",
        remedy="connect to the network, or download the checkpoint elsewhere and pass its folder: --model /path/to/it",
    )
