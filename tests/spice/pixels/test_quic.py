# SPDX-License-Identifier: GPL-2.0-or-later
"""QUIC: images of a real server come out as drawn (test_truth); here, that nothing else does harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.capture import open_capture, read
from dissect.dissection.reading import Told, each
from dissect.spice.pixels import quic
from dissect.spice.pixels.lz import Damaged
from dissect.spice.pixels.screen import images_in
from dissect.stream.records import Message
from tests.rfb.pixels.viewer import pictures

RECORDING = Path(__file__).resolve().parents[3] / "pcaps" / "spicy--xspice-quic.pcapng.xz"


@pytest.fixture(scope="module")
def coded() -> bytes:
    """A picture of 160 x 120 as spice-server coded it: the first of `pictures`."""
    with open_capture(RECORDING) as capture:
        found = [
            image["quic"]
            for one in each(read(capture))
            if isinstance(one, Told) and isinstance(one.record, Message) and "DRAW_COPY" in one.record.name
            for image in images_in(one.record.values)
        ]
    sizes = [(one["width"], one["height"]) for one in found]
    return bytes(found[sizes.index((160, 120))]["quic_data"])


def test_a_picture_of_a_server(coded: bytes) -> None:
    rgb, alpha = quic.decode(coded, quic.RGBA, 160, 120)
    assert alpha is not None
    assert len(set(alpha.ravel().tolist())) == 1  # an X server has no use for it
    np.testing.assert_array_equal(rgb, pictures(160, 120)[0])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_damage_is_found_or_makes_a_picture_of_the_same_size(coded: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(coded)))
    flipped = bytearray(coded[:cut])
    for at in data.draw(st.lists(st.integers(0, max(0, cut - 1)), max_size=3)):
        if cut:
            flipped[at] ^= data.draw(st.integers(1, 255))
    try:
        rgb, _ = quic.decode(bytes(flipped), data.draw(st.sampled_from([1, 2, 3, 4, 5])), 40, 30)
    except Damaged:
        return
    assert rgb.shape == (30, 40, 3)


def test_few_bytes_do_not_stand_for_many_lines() -> None:
    with pytest.raises(Damaged, match="has 8 bytes for 60000 lines"):
        quic.decode(bytes(8), quic.RGB32, 1000, 60000)
    with pytest.raises(Damaged, match="type 9"):
        quic.decode(bytes(8), 9, 1, 1)
