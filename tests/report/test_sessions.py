# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE session is one row of a report, with a link to each of its channels."""

from __future__ import annotations

from pathlib import Path

from dissect.capture import open_capture, read
from dissect.dissection.reading import dissect
from dissect.report.page import Report
from tests.app.captures import FAST, write
from tests.report.browser import Browser, rows

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
DEVICES = PCAPS / "spicy--qemu-spice-devices.pcapng"
PASSWORD = PCAPS / "spicy-screenshot--qemu-spice-password.pcapng"


def report_of(*captures: Path) -> Report:
    report = Report()
    for path in captures:
        with open_capture(path) as capture:
            for dissected in dissect(read(capture)):
                report.add(path.name, str(path), dissected)
    return report


def test_a_row_for_each_session(tmp_path: Path) -> None:
    table = report_of(DEVICES, PASSWORD, write(tmp_path / "rfb.pcapng", FAST)).sessions.table()
    assert table.anchors == [f"{DEVICES.name}/0xd27f2407/0", f"{PASSWORD.name}/0x08312617/0"]
    whole, other = (dict(zip([one.title for one in table.columns], row, strict=True)) for row in table.rows)
    channels = "main, usbredir, playback, record, display, webdav, port, inputs, cursor"
    assert (whole["client"], whole["channels"]) == ("127.0.0.1", channels)
    assert (other["channels"], other["odd"], other["remarks"]) == ("main, display", [0, "", ""], "")
    details, _ = table.details()
    assert details.count("<li>") == 9
    assert 'href="#spicy--qemu-spice-devices.pcapng%2F4">display, ' in details
    assert "firstbyte show --sessions " in details


def test_where_there_is_none_there_is_no_table(tmp_path: Path) -> None:
    assert "SPICE sessions" not in report_of(write(tmp_path / "x.pcapng", FAST)).html()


def test_from_a_session_to_its_channels(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report_of(DEVICES).html(), "utf-8")
    with Browser() as browser:
        browser.open(page.as_uri())
        (row,) = rows(browser, "sessions")
        assert "0xd27f2407" in row[1]
        browser.run("document.querySelector('#table-sessions .toggle').click()")
        browser.until("document.querySelectorAll('#table-sessions .detail li').length === 9")
        browser.run("document.querySelectorAll('#table-sessions .detail a')[4].click()")
        browser.until("document.querySelector('.fb-ladder') !== null")
        inside = "document.querySelector('#table-conversations .detail').innerText"
        assert "SPICE display channel of session 0xd27f2407" in browser.run(inside)
        assert browser.said == []
