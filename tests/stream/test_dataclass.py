# SPDX-License-Identifier: GPL-2.0-or-later
"""A data class is what the standard library would have made of the same."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar

import pytest

from dissect.stream import dataclass as ours

Maker = Callable[..., Any]


def classes(make: Maker, field: Any, **options: bool) -> tuple[Any, Any]:
    """A class and one that is based on it."""

    @make(slots=True, **options)
    class Base:
        """Words."""

        kind: ClassVar[str] = "base"
        number: int
        text: str = "x"

        @property
        def double(self) -> int:
            return 2 * self.number

    @make(slots=True, **options)
    class More(Base):
        text: str = "y"
        items: list[int] = field(default_factory=list)

        def __repr__(self) -> str:
            return "its own"

    return Base, More


@pytest.mark.parametrize(("frozen", "eq"), list(product((False, True), repeat=2)))
def test_it_behaves_as_the_standard_librarys(frozen: bool, eq: bool) -> None:
    def told(make: Maker, field: Any) -> list[object]:
        """What these classes do, where it can be compared."""
        base, more = classes(make, field, frozen=frozen, eq=eq)
        one, same, other = base(3), base(3, text="x"), base(3, "z")
        two, empty = more(4, items=[1]), more(5)
        found: list[object] = [repr(one), repr(two), (one.number, one.text, one.double), one.kind]
        found += [
            one == same,
            one == other,
            one != other,
            one == two,
            one == (3, "x"),
            empty.items,
            empty.text,
        ]
        found += [base.__match_args__, more.__match_args__, base.__slots__, more.__slots__, base.__doc__]
        found += [hasattr(one, "__dict__"), base.__qualname__, base.__hash__ is None]
        found += [empty.items is more(5).items]
        found += [hash(one) == hash(same)] if base.__hash__ is not None else []
        changes: list[Callable[[], Any]] = [lambda: setattr(one, "text", "w"), lambda: delattr(one, "text")]
        for change in changes:
            try:
                change()
            except AttributeError as error:
                found.append(type(error))
        wrongs: list[Callable[[], Any]] = [base, lambda: base(1, 2, 3), lambda: base(number=1, colour=2)]
        for wrong in wrongs:
            with pytest.raises(TypeError):
                wrong()
        found += [dataclasses.asdict(two), dataclasses.astuple(other), dataclasses.is_dataclass(base)]
        found += [[(part.name, part.type, part.init) for part in dataclasses.fields(more)]]
        found += [dataclasses.asdict(dataclasses.replace(two, number=9)), copy.copy(two).items is two.items]

        mixed = dataclasses.make_dataclass(
            "Mixed", [("last", int, dataclasses.field(default=0))], bases=(more,), frozen=frozen
        )
        found += [[part.name for part in dataclasses.fields(mixed)]]
        return found

    assert told(ours.dataclass, ours.field) == told(dataclasses.dataclass, dataclasses.field)


@ours.dataclass(slots=True, frozen=True)
class Sent:
    """One that can be found by its name."""

    number: int
    items: list[int] = ours.field(default_factory=list)


def test_instances_are_copied_sent_and_matched() -> None:
    one = Sent(1, [2])
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), ours.replace(one)):
        assert again == one
        assert again is not one
    assert ours.replace(one, number=3) == dataclasses.replace(one, number=3) == Sent(3, [2])
    with pytest.raises(TypeError, match="colour"):
        ours.replace(one, colour=3)  # type: ignore[call-arg]
    match one:
        case Sent(number, [first]):
            assert (number, first) == (1, 2)
        case _:
            pytest.fail("its places are not known")
    one.items.append(one)  # type: ignore[arg-type]
    assert repr(one) == "Sent(number=1, items=[2, ...])"
