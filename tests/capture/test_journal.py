# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes known of a capture beside its frames."""

from __future__ import annotations

import io

import pytest

from dissect.capture import open_capture
from dissect.capture.journal import MAX_PROBLEMS, MAX_SECRETS, Journal
from tests.capture.build import epb, idb, pcap, shb
from tests.capture.reading import whole


def test_many_problems_are_counted_rather_than_kept() -> None:
    _frames, capture = whole(shb() + epb(1, b"x") * (MAX_PROBLEMS + 7))
    assert len(capture.problems) == MAX_PROBLEMS + 1
    assert capture.problems[-1].reason == "7 more problems before this place, not listed"


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_how_far_times_run_back(form: str) -> None:
    """Frame by frame, and many at once; over the border of what is read at once too."""
    times = [5, 7, 6, 9, 3, 9, 20, 19]
    frames = [(time, b"x") for time in times]
    data = shb() + idb(resolution=9) + b"".join(epb(*one) for one in frames)
    if form == "pcap":
        data = pcap(frames, nano=True)
    for most in (0, 2, 4, 100):
        capture = open_capture(io.BytesIO(data), "x")
        next(capture)
        while most and capture.run(most) is not None:
            pass
        assert len(list(capture)) + capture.frames >= len(times)
        assert (capture.back_ns, capture.first_ns, capture.end_ns) == (6, 3, 20)


def test_frames_not_used_are_told_by_how_many() -> None:
    journal = Journal("x")
    assert journal.not_used() is None
    journal.skipped.update({f"kind {number}": number for number in range(1, 13)})
    told = journal.not_used()
    assert told is not None
    assert told.startswith("78 frames not used: 12 kind 12, 11 kind 11, ")
    assert told.endswith(", 4 kind 4, 6 of 3 other kinds")


def test_secrets_are_kept_up_to_a_limit() -> None:
    journal = Journal("x")
    journal.secret(1, bytes(MAX_SECRETS - 1), 10)
    journal.secret(2, b"ab", 20)
    journal.secret(3, b"c", 30)
    assert [kind for kind, _data in journal.secrets] == [1, 3]
    assert [(one.offset, one.reason) for one in journal.problems] == [
        (20, f"more than {MAX_SECRETS} bytes of secrets; not kept")
    ]
