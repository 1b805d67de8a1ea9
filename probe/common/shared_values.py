"""Values of any size in the store through which processes talk.

They are pickled, as torch.distributed does it with objects. Whoever can reach the store can run code in the processes,
so its port belongs in a network of the job alone; nothing pickled is ever written to a file.
"""

import pickle
from typing import Any

CHUNK = 4 * 2**20
"""Bytes of one entry of the store; torch's refuses more than 8 MiB."""


class SharedValues:
    """Values that can be pickled, by key."""

    def __init__(self, store: Any) -> None:
        """Keep them in a `torch.distributed.Store`."""
        self._store = store

    def __contains__(self, key: str) -> bool:
        return bool(self._store.check([key]))

    def put(self, key: str, value: Any) -> None:
        """Store a value under a key that has none."""
        text = pickle.dumps(value)
        parts = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
        for number, part in enumerate(parts):
            self._store.set(f"{key}/{number}", part)
        self._store.set(key, str(len(parts)))  # last, so that a value is there as a whole or not at all

    def get(self, key: str) -> Any:
        """The value, which there must be."""
        return pickle.loads(b"".join(map(self._store.get, self._parts(key))))

    def take(self, key: str) -> Any:
        """The value, which nobody else wants, so that it need not be kept."""
        value = self.get(key)
        for each in [*self._parts(key), key]:
            self._store.delete_key(each)
        return value

    def _parts(self, key: str) -> list[str]:
        return [f"{key}/{number}" for number in range(int(self._store.get(key)))]
