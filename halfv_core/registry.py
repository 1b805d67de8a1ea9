"""Name -> implementation: items register where they are defined, and an unknown name is an error that lists them."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from halfv_core.errors import HalfVError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A read-only mapping to which `register` adds.

    Args:
        kind: what is registered, for error messages ("selector", "family").
        error: the class of the error for an unknown name.
    """

    def __init__(self, kind: str, error: type[HalfVError]) -> None:
        self._kind = kind
        self._error = error
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers an item under `name`.

        Raises:
            ValueError: the name is already taken.
        """

        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self._kind} '{name}' is registered twice")
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            known = ", ".join(sorted(self._items))
            raise self._error(f"unknown {self._kind}", got=repr(name), expected=f"one of {known}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
