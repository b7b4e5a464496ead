# SPDX-License-Identifier: GPL-2.0-or-later
"""Some conversations' packets, taken out of captures as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dissect.app.captures import by_first_packet
from dissect.app.terminal import Unusable
from dissect.capture import Conversation, Conversations, Decoder, Frame, PcapngWriter, open_capture


class Chosen:
    """Conversations by the frames that began them, for a second reading to find again."""

    def __init__(self, *, merge: bool = False) -> None:
        self.merge = merge
        self._by_capture: dict[str, dict[int, frozenset[str]]] = {}

    def __len__(self) -> int:
        return sum(len(found) for found in self._by_capture.values())

    def add(self, capture: str, conversation: Conversation) -> None:
        """Choose a conversation that began in `capture`."""
        ends = frozenset((conversation.client, conversation.server))
        self._by_capture.setdefault(capture, {})[conversation.first_frame] = ends

    def began(self, capture: str, conversation: Conversation) -> bool:
        """Whether a conversation that began in `capture` is chosen."""
        return conversation.first_frame in self._by_capture.get(capture, {})

    def ends(self, capture: str) -> set[frozenset[str]]:
        """Both ends of each conversation that may have packets in `capture`."""
        found = self._by_capture if self.merge else {capture: self._by_capture.get(capture, {})}
        return {ends for one in found.values() for ends in one.values()}


def refuse_to_overwrite(target: str, names: Sequence[str]) -> None:
    """Raise `Unusable` where `target` is one of the files that are read."""
    for name in names:
        if name != "-" and Path(target).exists() and Path(name).exists() and Path(target).samefile(name):
            raise Unusable("is one of the files that are read: it would be lost", source=target)


def write(
    target: str, names: Sequence[str], chosen: Chosen, keep: Callable[[Frame], bool] | None = None
) -> int:
    """Write the packets of the chosen conversations into a pcapng file; returns how many.

    Frames keep their bytes, lengths and times (ns), and the secrets for decryption of the captures come
    along. Comments and other options are left behind. Raises `Unusable` where the file is one of those read.
    """
    refuse_to_overwrite(target, names)
    count = 0
    with PcapngWriter(target, linktype=1, comment="selected conversations") as writer:
        interfaces: dict[int, int] = {1: 0}
        conversations, decoder = Conversations(), Decoder(remember=True)
        began: dict[Conversation, bool] = {}
        for name in by_first_packet(names) if chosen.merge else names:
            if not chosen.merge:
                conversations, decoder = Conversations(), Decoder(remember=True)
                began.clear()
            ends = chosen.ends(name)
            if not ends:
                continue
            with open_capture(name) as capture:
                for frame in capture:
                    if keep is not None and not keep(frame):
                        continue
                    segment = decoder(frame, capture.skipped)
                    if segment is None:
                        continue
                    if frozenset((segment.sender, segment.receiver)) not in ends:
                        conversations.due(segment.time_ns)
                        continue
                    for event in conversations.push(segment):
                        if event.conversation not in began:
                            began[event.conversation] = chosen.began(name, event.conversation)
                    half = conversations.find(segment.key)
                    if half is None or not began.get(half.connection.conversation):
                        continue
                    for one in (*decoder.earlier, frame):
                        if one.linktype not in interfaces:
                            interfaces[one.linktype] = writer.interface(one.linktype)
                        writer.write(one.time_ns, one.data, one.length, interface=interfaces[one.linktype])
                        count += 1
                for kind, secrets in capture.secrets:
                    writer.secrets(kind, secrets)
    return count
