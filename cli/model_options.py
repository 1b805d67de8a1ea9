"""Options for the model and how it is loaded, for all commands that load one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

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
    max_memory: Annotated[
        list[str] | None,
        typer.Option(
            "--max-memory",
            help="What weights may take of a device, as 0=10GiB or cpu=30GiB; may be repeated. The rest stays on disk.",
        ),
    ] = None
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the checkpoint brings.")
    ] = False

    def check(self, model: str) -> None:
        """Raise ModelError for an unknown model, dtype or device, before other work begins."""
        from halfv_core.models import check_request

        check_request(model, self.dtype, self.device, self.limits())

    def load(self, model: str) -> "LoadedModel":
        """Load a model, see `cli.common.load_quietly`.

        Raises:
            ModelError: see `halfv_core.models.load_model`.
        """
        return load_quietly(model, self.dtype, self.device, self.trust_remote_code, self.limits())

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
