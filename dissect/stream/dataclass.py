# SPDX-License-Identifier: GPL-2.0-or-later
"""The standard library's `dataclass`, `field` and `replace`, at less cost and with the same meaning.

Making such classes is a large part of every command's start: the standard library compiles up to seven
methods for each of them, and imports `inspect` to do so. Here `__init__` alone is compiled, the other
methods are the same functions for all classes. A class is then made in a quarter of the time and behaves
alike: the tests hold it to the standard library's, whose own functions (`fields`, `asdict`) take it as
theirs.

Of the options there is what is used in the rooms that every command imports; all classes have slots.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:

    def dataclass(*, slots, frozen=False, eq=True):
        """As the standard library's, with these options."""
        assert slots
        return lambda cls: _made(cls, frozen=frozen, eq=eq)

    def field(*, default_factory):
        """As the standard library's."""
        return _Factory(default_factory)

    def replace(one, /, **changes):
        """As the standard library's, of an instance of a class that was made here."""
        facts = _facts_of(one)
        return type(one)(**dict(zip(facts.every, facts.values(one), strict=True)) | changes)


class _Factory:
    """A default that is made anew for each instance."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class _Facts:
    """What is known of a class: the annotation and default of each field, own and all; how it was made."""

    __slots__ = ("eq", "every", "frozen", "own", "values")

    def __init__(
        self, own: dict[str, tuple[str, Any]], every: dict[str, tuple[str, Any]], *, frozen: bool, eq: bool
    ) -> None:
        self.own = own
        self.every = every
        self.frozen = frozen
        self.eq = eq
        names = tuple(every)
        self.values: Callable[[Any], tuple[Any, ...]] = (
            attrgetter(*names) if len(names) > 1 else lambda one: tuple(getattr(one, name) for name in names)
        )
        """All values of an instance."""


_FACTS: Final = "_facts"
_NONE: Final = object()
"""The default of a field that has none."""


def _made(cls: Any, *, frozen: bool, eq: bool) -> Any:
    """The class made anew, with slots and the methods of a data class."""
    space = dict(vars(cls))
    annotations: dict[str, str] = space.get("__annotations__", {})
    own = {
        name: (annotation, space.pop(name, _NONE))
        for name, annotation in annotations.items()
        if not annotation.startswith("ClassVar")
    }
    before: dict[str, tuple[str, Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        if _FACTS in vars(base):
            before |= vars(base)[_FACTS].own
    facts = _Facts(own, before | own, frozen=frozen, eq=eq)
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    added: dict[str, Any] = {"__init__": _init(facts), "__repr__": _repr}
    added["__match_args__"] = tuple(facts.every)
    if eq:
        added |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
    if frozen:
        added |= {"__setattr__": _fixed, "__delattr__": _fixed, "__getstate__": _get, "__setstate__": _set}
    made = type(cls)(
        cls.__name__,
        cls.__bases__,
        {
            **added,
            **space,
            "__slots__": tuple(name for name in own if name not in before),
            "__dataclass_fields__": _Standard("__dataclass_fields__"),
            "__dataclass_params__": _Standard("__dataclass_params__"),
            _FACTS: facts,
        },
    )
    made.__qualname__ = cls.__qualname__
    return made


def _init(facts: _Facts) -> Any:
    """`__init__` for these fields."""
    space: dict[str, Any] = {"NONE": _NONE, "put": object.__setattr__}
    parameters, lines = ["self"], []
    for name, (_, default) in facts.every.items():
        parameters.append(name)
        value = name
        if isinstance(default, _Factory):
            space[f"make_{name}"] = default.make
            parameters[-1] += "=NONE"
            value = f"make_{name}() if {name} is NONE else {name}"
        elif default is not _NONE:
            space[f"default_{name}"] = default
            parameters[-1] += f"=default_{name}"
        lines.append(f" put(self, {name!r}, {value})" if facts.frozen else f" self.{name} = {value}")
    exec("\n".join([f"def __init__({', '.join(parameters)}):", *lines]), space)
    return space["__init__"]


class _Standard:
    """What the standard library keeps of a data class, made when its functions ask for it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: Any) -> Any:
        import dataclasses

        facts: _Facts = getattr(owner, _FACTS)
        parts: list[Any] = []
        for name, (annotation, default) in facts.every.items():
            if isinstance(default, _Factory):
                parts.append((name, annotation, dataclasses.field(default_factory=default.make)))
            elif default is _NONE:
                parts.append((name, annotation))
            else:
                parts.append((name, annotation, dataclasses.field(default=default)))
        twin = dataclasses.make_dataclass(owner.__name__, parts, frozen=facts.frozen, eq=facts.eq)
        found = getattr(twin, self._name)
        setattr(owner, self._name, found)
        return found


# --- methods of all classes


def _facts_of(instance: object) -> _Facts:
    facts: _Facts = getattr(type(instance), _FACTS)
    return facts


@recursive_repr("...")
def _repr(self: object) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _facts_of(self).every)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: object, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    values = _facts_of(self).values
    return values(self) == values(other)


def _hash(self: object) -> int:
    return hash(_facts_of(self).values(self))


def _fixed(self: object, name: str, *_: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change field {name!r}")


def _get(self: object) -> list[Any]:
    return list(_facts_of(self).values(self))


def _set(self: object, state: list[Any]) -> None:
    for name, value in zip(_facts_of(self).every, state, strict=True):
        object.__setattr__(self, name, value)
