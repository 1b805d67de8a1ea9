"""KeptStates: the hidden states of one prompt at every layer, in memory or, to need less of it, elsewhere.

At 7B shapes with 2,500 visual tokens they take 0.5 GB in bfloat16. Elsewhere is the CPU's memory for states of an
accelerator, and an unnamed temporary file, which is gone with the object, for those of the CPU. States come back as
they were, bit for bit and on their device, each time they are asked for.
"""

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, overload

import torch


class KeptStates(Sequence[torch.Tensor]):
    """States in the order in which they were added."""

    def __init__(self, *, low_memory: bool = False) -> None:
        """Start without states.

        Args:
            low_memory: keep them elsewhere.
        """
        self._low_memory = low_memory
        self._kept: list[torch.Tensor | _Elsewhere | _OnDisk] = []
        self._file: IO[bytes] | None = None

    def append(self, state: torch.Tensor) -> None:
        """Add a state of any shape."""
        self._kept.append(self._put_away(state) if self._low_memory else state)

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> torch.Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[torch.Tensor]: ...
    def __getitem__(self, index: int | slice) -> torch.Tensor | list[torch.Tensor]:
        if isinstance(index, slice):
            return [self._brought(kept) for kept in self._kept[index]]
        return self._brought(self._kept[index])

    def __iter__(self) -> Iterator[torch.Tensor]:
        return map(self._brought, self._kept)

    def _put_away(self, state: torch.Tensor) -> "_Elsewhere | _OnDisk":
        if state.device.type != "cpu":
            return _Elsewhere(state.cpu(), state.device)
        if self._file is None:
            self._file = tempfile.TemporaryFile()
            weakref.finalize(self, self._file.close)
        place = self._file.seek(0, 2)
        self._file.write(_bytes_of(state.contiguous()))
        return _OnDisk(self._file, place, state.shape, state.dtype)

    @staticmethod
    def _brought(kept: "torch.Tensor | _Elsewhere | _OnDisk") -> torch.Tensor:
        return kept if isinstance(kept, torch.Tensor) else kept.bring()


class _Elsewhere(NamedTuple):
    state: torch.Tensor
    device: torch.device

    def bring(self) -> torch.Tensor:
        return self.state.to(self.device)


class _OnDisk(NamedTuple):
    file: IO[bytes]
    place: int
    shape: torch.Size
    dtype: torch.dtype

    def bring(self) -> torch.Tensor:
        state = torch.empty(self.shape, dtype=self.dtype)
        self.file.seek(self.place)
        self.file.readinto(_bytes_of(state))  # type: ignore[attr-defined]
        return state


def _bytes_of(state: torch.Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return state.detach().reshape(-1).view(torch.uint8).numpy().data
