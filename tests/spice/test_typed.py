# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person typed and copied in a SPICE session comes out of a capture, key by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import dissect
from dissect.spice.typed import NUM_LOCK_ON, Keys, typed
from dissect.stream import Side

C, S = Side.CLIENT, Side.SERVER
PCAPS = Path(__file__).parents[2] / "pcaps"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # What was pressed and copied there is in pcaps/peers.toml and pcaps/spicegtk.py.
        ("spicy--xspice-input.pcapng.xz", [(C, "typed", "aB[F1]\n", "us")]),
        ("spicegtk--qemu-spice-input.pcapng.xz", [(C, "typed", "aB[Up]", "us")]),
        (
            "spicegtk--xspice-agent.pcapng.xz",
            [(C, "copied", "from the client: 1 €", None), (S, "copied", "from the server: café", None)],
        ),
    ],
)
def test_what_was_typed_and_copied_in_a_real_client(
    name: str, expected: list[tuple[Side, str, str, str | None]]
) -> None:
    said = []
    with open_capture(PCAPS / name) as capture:
        for found in dissect(read(capture)):
            said += [(one.side, one.how, one.text, one.layout) for one in typed(found.records)]
    assert said == expected


SHIFT, CONTROL, ALT_GR = b"\x2a", b"\x1d", b"\xe0\x38"


def up(codes: bytes) -> bytes:
    return codes[:-1] + bytes([codes[-1] | 0x80])


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        (b"\x02\x82\x0d\x10\x1b\x1e\x28\x29\x2b\x2c\x35", "1=q]a'`\\z/"),
        (SHIFT + b"\x02\x0d\x10\x1b\x28\x29\x2b\x35" + up(SHIFT) + b"\x1e", '!+Q}"~|?a'),
        (b"\x3a\xba\x1e\x2a\x1e\xaa\x02\x3a\x1e", "[Caps_Lock]Aa1[Caps_Lock]a"),
        (b"\x1c\x0f\x39\xe0\x1c\xe0\x35\x37", "\n\t \n/*"),
        (CONTROL + b"\x2e\x0f" + up(CONTROL), "[Control+c][Control+Tab]"),
        (CONTROL + SHIFT + b"\x2e\xe0\x4d", "[Control+C][Control+Shift+Right]"),
        (ALT_GR + b"\x10" + up(ALT_GR) + b"\x10", "[AltGr+q]q"),  # an @ on some keyboards
        (b"\x47\x45\x47\x2a\x47\xaa\x53", "[Home][Num_Lock]7[Shift+Home]."),
        (b"\xe1\x1d\x45\xe1\x9d\xc5\x1e", "[Pause]a"),
        (b"\xe0\x2a\xe0\x37\xe0\xb7\xe0\xaa\x1e", "[Print]a"),
        (b"\x1e\x1e\x9e", "aa"),
        (b"\x7f\xe0\x7f", "[key 0x7f][key 0x17f]"),
    ],
)
def test_scan_codes_are_the_keys_of_a_us_keyboard(codes: bytes, text: str) -> None:
    whole, bytewise = Keys(), Keys()
    whole.feed(codes)
    for byte in codes:
        bytewise.feed(bytes([byte]))
    assert whole.typing.take() == bytewise.typing.take() == text


def test_the_client_says_which_locks_are_on() -> None:
    keys = Keys()
    keys.locks = NUM_LOCK_ON
    keys.feed(b"\x48\xe0\x48")
    assert keys.typing.take() == "8[Up]"
