# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person typed and copied comes out of a capture exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import dissect
from dissect.rfb.session import RfbSession
from dissect.rfb.typed import character, typed
from dissect.stream import Side
from dissect.stream.keyboard import Said
from dissect.stream.records import Record
from tests.rfb.examples import SERVER_INIT, u32

C, S = Side.CLIENT, Side.SERVER
PCAPS = Path(__file__).parents[2] / "pcaps"
KEYS = "\n\t[BackSpace][F1][Control+a][Shift+Left]"


def said(name: str) -> list[Said]:
    with open_capture(PCAPS / name) as capture:
        (found,) = dissect(read(capture))
    return list(typed(found.records))


def texts(name: str) -> list[tuple[Side, str, str]]:
    return [(one.side, one.how, one.text) for one in said(name)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        # What drive.py typed in the viewers' windows: see pcaps/peers.toml.
        ("xtigervncviewer-typing--xtigervnc.pcapng", "Hello, World! (42 % of {it}) äöü ß é €"),
        ("xtightvncviewer-typing--x11vnc.pcapng", "Hello, World! (42 % of {it}) äöü ß é"),
    ],
)
def test_what_was_typed_in_a_real_viewer(name: str, text: str) -> None:
    assert texts(name) == [(C, "typed", text + KEYS)]


def test_what_was_copied_on_either_side_of_real_programs() -> None:
    from_server = (S, "copied", "from the server: naïve café, 5 €")
    extended = texts("xtigervncviewer-pasting--xtigervnc-copying.pcapng")
    assert [one for one in extended if one[1] == "copied"] == [from_server] * 2  # both of X's selections
    mine = [one for one in texts("xtigervncviewer-copying--xtigervnc-pasting.pcapng") if one[1] == "copied"]
    assert mine == [(C, "copied", "from the client: 1 £ is 1 €")]
    # Without the extension there is Latin-1 only: the viewer itself has put a ? for the euro.
    mine = [one for one in texts("xtigervncviewer-copying--xtightvnc.pcapng") if one[1] == "copied"]
    assert mine == [(C, "copied", "from the client: 1 £ is 1 ?")]
    assert (S, "copied", "from the server: plain old text") in texts("xtightvncviewer--x11vnc-copying.pcapng")


def test_the_pointer_goes_where_it_went() -> None:
    with open_capture(PCAPS / "xtigervncviewer-typing--xtigervnc.pcapng") as capture:
        (found,) = dissect(read(capture))
    events = [record for record in found.records if record.name == "PointerEvent"]
    seen = [(one["button_mask"], one["x_position"], one["y_position"]) for one in events]  # type: ignore[index]
    assert seen[0] == (0, 30, 30)
    assert [one for one in seen if one[0]] == [(1, 60, 50), (1, 80, 70), (4, 80, 70), (8, 80, 70)]


def keys(*events: tuple[int, int]) -> list[Record]:
    session = RfbSession()
    for side, data in (
        (S, b"RFB 003.003\n"),
        (C, b"RFB 003.003\n\1"),
        (S, u32(1) + SERVER_INIT),
    ):
        session.feed(side, data, 0)
    return [
        record
        for number, (down, key) in enumerate(events)
        for record in session.feed(C, bytes([4, down, 0, 0]) + u32(key), number)
    ]


def test_repeats_and_unknown_keys_and_modifiers() -> None:
    shift, control, alt = 0xFFE1, 0xFFE3, 0xFFE9
    found = keys(
        (1, 0x61), (1, 0x61), (0, 0x61), (1, shift), (1, 0x42), (0, 0x62), (0, shift), (1, 0xFFB7),
        (1, control), (1, alt), (1, 0xFFFF), (0, alt), (1, 0x20), (0, control), (1, 0x1008FF11),
        (1, 0x010020AC),
    )  # fmt: skip
    (one,) = typed(found)
    assert one == Said(C, "typed", 15, "aaB7[Alt+Control+Delete][Control+space][key 0x1008ff11]€")


def test_characters() -> None:
    assert [character(number) for number in (0x7F, 0x80, 0xA0, 0xFF, 0x0100_0007, 0x0111_0000)] == [
        None, None, "\xa0", "ÿ", None, None,
    ]  # fmt: skip
