# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict as the cells of a table, or as a line of JSON; and comments beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from dissect.app import terminal
from dissect.app.terminal import Cell, Column
from dissect.capture.notes import Comment
from dissect.dissection.reading import DissectedMany
from dissect.dissection.verdict import OWN, Detection, Verdict, shared
from dissect.stream.side import Side
from dissect.stream.text import duration, safe

STYLES = {"agreed": "good", "wrong-protocol": "bad", "silent": "warn", "undecided": "dim"}


def columns() -> list[Column]:
    """The columns of `cells`."""
    return [
        Column("client"),
        Column("server"),
        Column("spoke"),
        Column("verdict"),
        Column("server noticed", align="right", fit="leave"),
        Column("client noticed", align="right", fit="leave"),
    ]


def cells(verdict: Verdict, client: str, server: str) -> list[str | Cell]:
    """Who spoke what to whom and who noticed; client, server: what they are called."""
    return [
        Cell(client, "client"),
        Cell(server, "server"),
        spoke(verdict),
        outcome(verdict),
        noticed(verdict, Side.SERVER),
        noticed(verdict, Side.CLIENT),
    ]


def spoke(verdict: Verdict) -> str:
    """What each side spoke, client first; a dash for the one that never did."""
    return " → ".join(
        "–" if name == "nothing" else name for name in (verdict.client_spoke, verdict.server_spoke)
    )


def outcome(verdict: Verdict) -> Cell:
    """The verdict itself, in its colour."""
    return Cell(verdict.verdict, STYLES[verdict.verdict])


def noticed(verdict: Verdict, side: Side) -> Cell:
    """When `side` noticed, after how many bytes; a lower bound where it did not. Bold: it was the first."""
    seen: Detection | None = verdict.detect(side)
    if seen is None:
        return Cell("")
    text = duration(seen.ns, censored=seen.censored)
    if seen.bytes:
        text += f", {seen.bytes:,} B"
    return Cell(text, "warn" if seen.censored else "head" if verdict.detected_first is side else "")


def tell_comments(comments: Iterable[Comment]) -> None:
    """Print comments that belong to no conversation."""
    for comment in comments:
        when = f" ({terminal.timestamp(comment.time_ns)})" if comment.frame else ""
        text = safe(f"comment on {comment.about}{when}: {comment.text}")
        print("\n".join(terminal.wrap(text, terminal.terminal_width())))


class Lines:
    """Verdicts as lines of JSON; what many of them have in common is written once.

    >>> Lines().line("a.pcap", verdict) == json.dumps(verdict.to_json("a.pcap"))
    True
    """

    MOST = 4096
    """Kinds of lines that are remembered."""

    def __init__(self) -> None:
        self._tails: dict[object, str] = {}
        self._heads: dict[str, str] = {}

    def line(self, capture: str, verdict: Verdict) -> str:
        """The line of a verdict, as `Verdict.to_json` has it."""
        if (
            verdict.server_detect is not None
            or verdict.client_detect is not None
            or verdict.spice is not None
        ):
            return json.dumps(verdict.to_json(capture))  # there are hardly two alike
        kind = shared(verdict)
        tail = self._tails.get(kind) or self._tail(kind, verdict)
        return (
            f'{self._head(capture)}{verdict.conversation}, "client": "{verdict.client}", '
            f'"server": "{verdict.server}", "start_ns": {verdict.start_ns}, {tail}'
        )

    def many(self, capture: str, found: DissectedMany) -> str:
        """The lines of conversations that were found together, each with its newline."""
        head, told, tails = self._head(capture), found.told, self._tails
        return "".join(
            [
                f'{head}{number}, "client": "{client}", "server": "{server}", "start_ns": {start}, '
                f"{tails.get(one) or self._tail(one, found.verdict(place))}\n"
                if isinstance(one, tuple)
                else f"{self.line(capture, one.verdict)}\n"
                for place, (number, client, server, start, one) in enumerate(
                    zip(told.indices, told.clients, told.servers, told.starts, found.found, strict=True)
                )
            ]
        )

    def _head(self, capture: str) -> str:
        head = self._heads.get(capture)
        if head is None:
            head = self._heads[capture] = json.dumps({"capture": capture})[:-1] + ', "conversation": '
        return head

    def _tail(self, kind: object, verdict: Verdict) -> str:
        if len(self._tails) >= self.MOST:
            self._tails.clear()
        found = verdict.to_json("")
        for key in ("capture", *OWN):
            del found[key]
        tail = self._tails[kind] = json.dumps(found)[1:]
        return tail
