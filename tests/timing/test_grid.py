# SPDX-License-Identifier: GPL-2.0-or-later
"""What each pair of a matrix came to; `test_matrices` holds the pictures of it."""

from __future__ import annotations

import pytest

from dissect.stream import Side
from dissect.timing.grid import Cell, grid
from tests.timing.test_results import row

pytest.importorskip("scipy")
MS = 1_000_000


def test_every_kind_of_pair() -> None:
    agreed = row("d", "x", verdict="agreed")
    agreed.observations = []
    left = row("e", "x", by="reset")
    left.observations = [
        *(one for one in row("e", "x", by=None).observations if one.side is Side.CLIENT),
        *(one for one in left.observations if one.side is Side.SERVER),
    ]
    found = grid(
        [
            row("a", "x", ns=MS),
            row("b", "x", ns=5_000 * MS, by=None),
            row("c", "x", lost="gone"),
            agreed,
            left,
            row("a", "y", ns=40 * MS),
        ]
    )
    assert (found.clients, found.servers) == (list("abcde"), list("xy"))
    kinds = {pair: cell.kind for pair, cell in found.cells.items()}
    assert kinds == {
        ("a", "x"): "time",
        ("b", "x"): "hang",
        ("c", "x"): "lost",
        ("d", "x"): "agreed",
        ("e", "x"): "cut",
        ("a", "y"): "time",
    }
    assert found.low_ns is not None
    assert found.high_ns is not None
    shares = [found.cells["a", name].share for name in "xy"]
    assert 0 <= shares[0] < shares[1] <= 1
    assert found.cells["b", "x"].ns == 10_000 * MS  # the client's, by the wire's clock


def test_without_a_time_there_is_no_scale() -> None:
    found = grid([row("a", "x", by=None)])
    assert (found.low_ns, found.high_ns) == (None, None)
    assert found.cells["a", "x"] == Cell("hang", found.cells["a", "x"].ns)
    with pytest.raises(ValueError, match="no trial"):
        grid([])
