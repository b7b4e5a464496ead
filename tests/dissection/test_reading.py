# SPDX-License-Identifier: GPL-2.0-or-later
"""From a capture's events to records: the ways that are quick tell what the plain one tells."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from dissect.capture import Conversation, open_capture, read
from dissect.capture.conversations import Conversations
from dissect.capture.plain import Plain
from dissect.dissection.reading import Told, dissect, each
from dissect.dissection.spice_links import SpiceLink
from dissect.stream.records import Message, Record

VNC = sorted(path for path in Path("pcaps").glob("*vnc*.pcapng") if "spic" not in path.stem)


@pytest.mark.parametrize("path", VNC[::2], ids=lambda path: path.stem)
def test_what_is_told_from_runs_of_segments_is_what_each_segment_tells(path: Path) -> None:
    slow: list[tuple[object, ...]] = []
    quick: list[tuple[object, ...]] = []
    held = 0

    def tell(conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
        nonlocal held
        held += len(record.raw) if isinstance(record, Message) else 0
        quick.append(
            (conversation.index, record.side, record.name, record.time_ns, record.size, record.text())
        )

    with open_capture(path) as capture:
        for one in each(read(capture)):
            if isinstance(one, Told):
                record = one.record
                held -= len(record.raw) if isinstance(record, Message) else 0
                row = (one.conversation.index, record.side, record.name, record.time_ns, record.size)
                slow.append((*row, record.text()))
    with open_capture(path) as capture:
        reader = Plain(Conversations())
        events = chain(reader.read(capture), reader.finish(capture, capture.end_ns))
        for _ in dissect(events, watch=tell, together=lambda *_: None):
            pass
    assert quick == slow
    assert held <= 0


def test_one_field_is_what_it_is_among_all() -> None:
    """A message tells one of its fields without decoding the others."""
    asked = 0
    for path in ("pcaps/gvncviewer--xtigervnc.pcapng", "pcaps/spicy--qemu-spice-devices.pcapng"):
        with open_capture(path) as capture:
            for one in dissect(read(capture)):
                for record in one.records[:100]:
                    values = record.values if isinstance(record, Message) else {}
                    assert {name: record[name] for name in values} == values  # type: ignore[index]
                    asked += len(values)
    assert asked > 300
