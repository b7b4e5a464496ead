# SPDX-License-Identifier: GPL-2.0-or-later
"""Yes, no, or not yet: never "no" for what may still become a yes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissect.stream.recognition import No, NotYet, Yes, magic

either = magic("p", b"abc", b"xy")


def test_the_three_answers() -> None:
    assert either(b"abcd") == Yes("p", "begins with b'abc'")
    assert either(b"xyz") == Yes("p", "begins with b'xy'")
    assert either(b"ab") == NotYet(1)
    assert either(b"") == NotYet(2)
    assert either(b"ax?") == No("begins with b'ax?'")


@given(st.binary(max_size=6))
def test_not_yet_means_that_so_many_more_can_decide(data: bytes) -> None:
    answer = either(data)
    if isinstance(answer, NotYet):
        more = [prefix for prefix in (b"abc", b"xy") if prefix.startswith(data)]
        assert answer.more == min(len(prefix) - len(data) for prefix in more)
        assert all(isinstance(either(prefix), Yes) for prefix in more)
    else:
        assert isinstance(answer, Yes) == data.startswith((b"abc", b"xy"))
