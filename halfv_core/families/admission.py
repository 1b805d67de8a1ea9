"""Which models may be run that have no tests of their own: those on which the identities were proven.

A pair of model class and decoder class is admitted when a plan that does nothing, pruning, freezing, decoding, caches
and padding have been tried on a loaded model of theirs (`probe.trials.proofs.admit`), or when a profile says that they
were when it was made. It is remembered for this version of transformers, in the folder of the Hugging Face caches.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import transformers

from halfv_core.errors import UnsupportedError
from halfv_core.files import read_text, write_atomically


class Pair(NamedTuple):
    """A model class around a decoder class, as one version of transformers has them."""

    model: str
    decoder: str
    transformers: str

    @classmethod
    def of(cls, model: object, decoder: object) -> "Pair":
        """The pair of a loaded model and its decoder."""
        return cls(type(model).__qualname__, type(decoder).__qualname__, transformers.__version__)

    def __str__(self) -> str:
        return f"{self.model} with {self.decoder} in transformers {self.transformers}"


_admitted: set[Pair] = set()
_on_trial: set[Pair] = set()


def is_admitted(pair: Pair) -> bool:
    """Whether its identities were proven, in this process or an earlier one."""
    return pair in _admitted or pair in _remembered()


def check_admitted(pair: Pair) -> None:
    """Raise UnsupportedError for a pair of which nothing is proven."""
    if pair in _on_trial or is_admitted(pair):
        return
    raise UnsupportedError(
        f"{pair} has no tests of its own, and nothing is proven of it yet",
        remedy="prove it, in seconds: `halfv-probe doctor --model ...`, or probe.admit(model, processor)",
    )


def admit(pair: Pair) -> None:
    """Remember that the identities of a pair were proven."""
    _admitted.add(pair)
    with suppress(OSError):  # a folder that cannot be written costs another proof, no more
        write_atomically(_file(), json.dumps(sorted({*_remembered(), pair}), indent=1) + "\n")


@contextmanager
def on_trial(pair: Pair) -> Iterator[None]:
    """Inside the block the pair may be run, so that it can be proven."""
    _on_trial.add(pair)
    try:
        yield
    finally:
        _on_trial.discard(pair)


def _file() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "halfv-probe" / "proven.json"


def _remembered() -> set[Pair]:
    try:
        return {Pair(*map(str, entry)) for entry in json.loads(read_text(_file()))}
    except (OSError, ValueError, TypeError):  # none yet, or not a file of ours
        return set()
