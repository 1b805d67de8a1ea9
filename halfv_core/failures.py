"""What an exception from a model or a processor means for the user, as an error of one line.

A checkpoint or an image can fail in as many ways as there are model classes and processors, each with its own type of
exception. All of them pass through the packages below, which tells them from faults of this project.
"""

import re
from traceback import walk_tb

from halfv_core.errors import MAX_VALUE, HalfVError, RunError, shortened

_MODEL_PACKAGES = (
    "accelerate",
    "jinja2",
    "nnsight",
    "peft",
    "tokenizers",
    "torch.nn",
    "transformers",
    "transformers_modules",  # code that a checkpoint brings
)
_NO_MEMORY = re.compile(
    r"out of memory|not enough memory|can(no|')t allocate memory|ALLOC_FAILED|unable to allocate", re.IGNORECASE
)
LESS_MEMORY = (
    "use --dtype bfloat16, a smaller model, --max-memory to leave room beside the weights, or fewer visual tokens "
    "(smaller images, or a lower limit of pixels in the "
    "checkpoint's preprocessor_config.json); fewer samples do not help, since they run one at a time"
)
"""What would need less memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on an accelerator or on the CPU.

    torch raises `OutOfMemoryError` from its own allocators, but a plain `RuntimeError` on the CPU and from CUDA's
    libraries.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def reason_of(error: BaseException) -> str:
    """Type and first line of an exception in printable characters, 300 at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shortened(shown, MAX_VALUE)


def failure_of(error: Exception) -> HalfVError | None:
    """The one-line error for an exception; None for a fault of this project, whose traceback is worth having."""
    if isinstance(error, HalfVError):
        return error
    if is_out_of_memory(error):
        return RunError(f"out of memory ({reason_of(error)})", remedy=LESS_MEMORY)
    if type(error).__name__ == "AcceleratorError" or any(map(_of_model, _modules(error))):
        return RunError(
            f"the model or its processor failed ({reason_of(error)})",
            remedy="see that the checkpoint's config, tokenizer and image processor belong together",
        )
    return None


def _modules(error: Exception) -> list[str]:
    """Names of the modules that the exception came through."""
    return [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]


def _of_model(module: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in _MODEL_PACKAGES)
