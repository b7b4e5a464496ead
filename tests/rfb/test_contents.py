# SPDX-License-Identifier: GPL-2.0-or-later
"""What rectangles say besides their pixels is among the fields of an update."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.rfb import contents, encodings
from dissect.rfb.encodings import Format
from tests.rfb.examples import SCREEN, rect, rectangles, u16, u32, update
from tests.rfb.test_messages import started


def test_every_encoding_whose_data_have_fixed_fields_has_a_class() -> None:
    """All that are framed, but for pixels, tiles, masks, pictures and markers without a byte of data."""
    without = {0, 5, 8, 15, 21, 27, -223, -224, -225, -232, -239, -257, -258, -259, -316}
    without |= {0x574D5666, encodings.SOLID_COLOR, 0xFFFE0000 - (1 << 32)}
    listed = {encodings.SUPPORTED_ENCODINGS, encodings.SERVER_IDENTITY}
    assert set(encodings.WALKERS) == without | listed | set(contents.CONTENTS)


CASES: list[tuple[bytes, dict[str, Any]]] = [
    (rect(5, 3, 1, u16(9) + u16(8)), {"src_x_position": 9, "src_y_position": 8}),
    (rect(0, 0, -261, b"\2"), {"state": 2}),
    (rect(0, 0, -307, u32(5) + "näm".encode() + b"e"), {"name_string": "näme"}),
    (rect(640, 480, -307), {"meaning": "ExtViewSize of UltraVNC, which has the number of DesktopName"}),
    (
        rect(640, 480, -308, b"\1\0\0\0" + SCREEN, x=1, y=3),
        {"number_of_screens": 1, "reason": "this client", "status": "invalid screen layout"},
    ),
    (rect(64, 64, 50, u32(5) + u32(1) + b"frame"), {"length": 5, "flags": 1}),
    (rect(9, 2, -240, bytes(range(6)) + bytes(8)), {"primary_g": 1, "secondary_b": 5}),
    (rect(3, 3, -314, u32(16) + u32(2) + b"ab"), {"encoding": 16, "encoding_name": "ZRLE"}),
    (rect(0, 0, -311, u16(5901) + u32(4) + b"host" + u32(0)), {"port": 5901, "host": "host"}),
    (rect(8, 2, 0xFFFE0002, u32(0) + u32(-239)), {"encodings_names": ["Raw", "Cursor"]}),
    (rect(5, 0, 0xFFFE0003, b"unix\0"), {"identity": "unix"}),
    (rect(0, 0, 0x574D5667, u16(1) + u32(30) + u32(500)), {"period": 30, "delay": 500}),
]


@pytest.mark.parametrize(("said", "wanted"), CASES)
def test_what_a_rectangle_says(said: bytes, wanted: dict[str, Any]) -> None:
    it = started()
    it.server(update(said))
    (shown,) = it.last("FramebufferUpdate").fields()["rectangles"]
    assert {name: shown["contents"][name] for name in wanted} == wanted


def test_the_fields_lie_within_the_rectangle() -> None:
    """Each class reads no further than the walker of its encoding goes."""
    for _, said in rectangles(Format()):
        it = started()
        it.server(update(said))
        (shown,) = it.last("FramebufferUpdate")["rectangles"]
        cls = contents.CONTENTS.get(shown["encoding_type"])
        if cls is not None and len(said) > encodings.HEADER.size:
            assert cls.layout().decode(said, encodings.HEADER.size)[1] <= len(said)


@pytest.mark.parametrize("encoding", [-307, -311])
def test_a_text_of_4_gib_is_refused_at_its_length(encoding: int) -> None:
    it = started()
    before = b"" if encoding == -307 else u16(1)
    (told,) = it.server(update(rect(0, 0, encoding, before + u32(-1))))
    assert "a text of 4294967295 bytes is over the limit" in told
