"""Model names, and loading a model with its processor, offline or from the hub.

model, processor, name = load_model("qwen2.5-vl-7b")
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from halfv_core.bundled import BUNDLED
from halfv_core.checkpoint_weights import check_weights
from halfv_core.errors import MAX_VALUE, HalfVError, ModelError, shortened
from halfv_core.hub import hub_answers
from halfv_core.known_models import KNOWN_MODELS
from halfv_core.loading import Loading, cannot_load

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from halfv_core.processors import PromptProcessor

MODEL_NAMES: dict[str, str] = {name: model.hub_id for name, model in KNOWN_MODELS.items()}
"""Short name -> hub id."""


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
    device_map: str | Path | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    gpus: Sequence[int] | None = None,
    tensor_parallel: int | None = None,
    load_in: str | None = None,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a model and its processor for inference, and make sure that all weights are the checkpoint's.

    Args:
        name: a bundled name, a short name of `MODEL_NAMES`, a folder, or a hub id; of a model, or of a PEFT adapter.
        dtype: `auto` (the checkpoint's own), `float32`, `bfloat16` or `float16`.
        device: `auto` (all GPUs there are, then the CPU's memory and the disk, from where weights are brought when they
            are needed; without a GPU the CPU), or a torch device.
        device_map: how the weights are spread, instead of `device`: `auto`, `balanced`, `balanced_low_0` or
            `sequential`, as accelerate has them, or a JSON file of module: device, such as
            `{"": 0, "model.language_model.layers.20": "cpu", "lm_head": "disk"}`.
        max_memory: what weights may take of each device's memory, by GPU index or `cpu`, such as
            `{0: "10GiB", "cpu": "30GiB"}`, where they may be spread. The rest is read from disk while the model runs.
        gpus: indices of the only GPUs that are used, likewise; for one of several replicas in a machine.
        tensor_parallel: number of processes that torchrun has started, which hold a part of every layer each. All of
            them load the model and make the same calls.
        load_in: `4bit` (nf4) or `8bit` (LLM.int8): pack the weights with bitsandbytes, which has to be installed.

    Raises:
        ModelError: unknown name, dtype, device or memory limit; what cannot be combined, or the machine or the model
            does not allow; a checkpoint that cannot be read, or whose weights are not those of its architecture; or no
            network and not in the local cache.
        RunError: out of memory.
    """
    from halfv_core.adapters import Adapter
    from halfv_core.processors import load_processor

    loading = Loading(dtype, device, device_map, max_memory, gpus, tensor_parallel, load_in)
    check_request(name, loading)
    options = {"attn_implementation": attn_implementation, "trust_remote_code": trust_remote_code}
    checkpoint = _Source.of(name)
    try:
        adapter = Adapter.find(checkpoint.place, checkpoint.offline)
        if adapter is not None and loading.is_split:
            raise ModelError(f"{name} is an adapter, which is not split over processes", expected="a whole model")
        base = checkpoint if adapter is None else _Source.of(adapter.base)
        model = _read_model(base, loading, options)
        if adapter is not None:
            adapter.add_to(model)
        _check_generation(base, model)
        model.config._commit_hash = base.revision()  # where versions of transformers that record it do
        prompts = checkpoint if adapter is None or checkpoint.has_processor() else base
    except HalfVError:
        raise
    except Exception as error:
        raise cannot_load(*checkpoint, error) from None
    return LoadedModel(model.eval(), load_processor(prompts.place, trust_remote_code, prompts.offline), name)


def check_request(name: str, loading: Loading = Loading()) -> None:  # noqa: B008 - frozen
    """Raise ModelError for what `load_model` can refuse at once, before a file of the checkpoint is read."""
    loading.check()
    resolve(name)


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

    def described(self, trust_remote_code: bool) -> "PreTrainedModel":
        """The model of config.json, without memory."""
        from transformers import AutoConfig

        from halfv_core.checkpoint_size import without_memory

        config = AutoConfig.from_pretrained(
            self.place, trust_remote_code=trust_remote_code, local_files_only=self.offline
        )
        return without_memory(config, trust_remote_code)

    def has_processor(self) -> bool:
        return self.has_file("processor_config.json") or self.has_file("preprocessor_config.json")


def _read_model(source: _Source, loading: Loading, options: dict[str, Any]) -> "PreTrainedModel":
    """Read a model to where it is asked for, and check its weights."""
    from transformers import AutoModelForImageTextToText

    source.check_config(options["trust_remote_code"])
    options |= loading.arguments(source.name, cache(lambda: source.described(options["trust_remote_code"])))
    with warnings.catch_warnings():
        # LLaVA-NeXT's map has a weight beside the modules.
        warnings.filterwarnings("ignore", message="The following device_map keys do not match any submodules")
        # Weights of another shape are let through here, and named by the check.
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            source.place,
            **options,
            local_files_only=source.offline,
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
