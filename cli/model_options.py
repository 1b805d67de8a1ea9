"""Options for the model and how it is loaded, for all commands that load one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.common import load_quietly

if TYPE_CHECKING:
    from halfv_core.models import LoadedModel

ModelOption = Annotated[str, typer.Option("--model", help="Name (see `halfv-probe models`), folder, or hub id.")]


@dataclass(frozen=True)
class LoadingOptions:
    """Options for loading a model."""

    dtype: Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")] = "auto"
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    device_map: Annotated[
        str | None,
        typer.Option(
            "--device-map",
            help="Instead of --device, how weights are spread: auto, balanced, balanced_low_0, sequential, or a JSON "
            "file of module: device, where a device is 0, cpu, disk ...",
        ),
    ] = None
    max_memory: Annotated[
        list[str] | None,
        typer.Option(
            "--max-memory",
            help="What weights may take of a device, as 0=10GiB or cpu=30GiB; may be repeated. The rest stays on disk.",
        ),
    ] = None
    tensor_parallel: Annotated[
        int | None,
        typer.Option(
            "--tensor-parallel",
            min=1,
            help="Split every layer over so many processes, which torchrun starts: torchrun --nproc-per-node 2 -m "
            "cli.main ... --tensor-parallel 2",
        ),
    ] = None
    load_in: Annotated[
        str | None, typer.Option("--load-in", help="Pack weights into 4bit or 8bit with bitsandbytes.")
    ] = None
    attn_implementation: Annotated[
        Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"],
        typer.Option("--attn-implementation", help="Attention kernel; the flash ones need their packages and a GPU."),
    ] = "sdpa"
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the checkpoint brings.")
    ] = False

    def check(self, model: str) -> None:
        """Raise ModelError for an unknown model, dtype or device, before other work begins."""
        from halfv_core.loading import Loading
        from halfv_core.models import check_request

        check_request(model, Loading(**self._arguments()))

    def load(self, model: str) -> "LoadedModel":
        """Load a model, see `cli.common.load_quietly`.

        Raises:
            ModelError: see `halfv_core.models.load_model`.
        """
        return load_quietly(
            model,
            **self._arguments(),
            trust_remote_code=self.trust_remote_code,
            attn_implementation=self.attn_implementation,
        )

    def _arguments(self) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "device": self.device,
            "device_map": self.device_map,
            "max_memory": self.limits(),
            "tensor_parallel": self.tensor_parallel,
            "load_in": self.load_in,
        }

    def limits(self) -> dict[int | str, int | str] | None:
        """The memory limits by device, as they were typed; None if there are none.

        Raises:
            ModelError: one of them is not DEVICE=SIZE.
        """
        from halfv_core.errors import ModelError

        typed = [limit.partition("=") for limit in self.max_memory or ()]
        for limit, (device, _, size) in zip(self.max_memory or (), typed, strict=True):
            if not (device and size):
                raise ModelError(
                    "a memory limit names a device and a size", got=limit, expected="as 0=10GiB or cpu=30GiB"
                )
        return {device: size for device, _, size in typed} or None
