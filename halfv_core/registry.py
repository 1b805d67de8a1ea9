"""Name -> implementation: items register where they are defined, and an unknown name is an error that lists them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from halfv_core.errors import HalfVError, first_fault

T = TypeVar("T")
Made = TypeVar("Made")


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

    def make(self: "Registry[type[Made]]", name: str, options: Mapping[str, bool | int | float | str]) -> "Made":
        """Build a registered dataclass, whose fields are its options.

        Raises:
            HalfVError: of the registry's class; unknown name, unknown option, or a value that the item does not accept.
        """
        kind = self[name]
        known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        for option in options:
            if option not in known:
                expected = ", ".join(known) or "no options"
                raise self._error(f"{self._kind} '{name}' has no option '{option}'", expected=expected)
        try:
            made: Made = _adapter(kind).validate_python(dict(options))  # type: ignore[arg-type]
        except ValidationError as error:
            raise self._error(f"{self._kind} '{name}', {first_fault(error)}") from None
        return made

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


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
