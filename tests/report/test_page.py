# SPDX-License-Identifier: GPL-2.0-or-later
"""The report in a real browser: it loads quietly, sorts, searches, pages, links, prints, and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.comments import Comments
from dissect.dissection.reading import dissect
from dissect.report.markup import link
from dissect.report.page import MOST_ODD, Input, Report
from dissect.stream.records import Message
from dissect.timing.results import Row
from tests.app.captures import CURE, FAST, HANG, noted, write
from tests.dissection.conversations import MS, C, S, Step
from tests.report.browser import Browser, rows
from tests.report.test_markup import NASTY
from tests.timing.test_results import row

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
SCRIPT = "<script>alert(1)</script>"
MANY = 130

HANDSHAKE: list[Step] = [
    (S, b"RFB 003.008\n", 1 * MS),
    (C, b"RFB 003.008\n", 2 * MS),
    (S, b"\1\1", 3 * MS),
    (C, b"\1", 4 * MS),
    (S, b"\0\0\0\0", 5 * MS),
    (C, b"\1", 6 * MS),
]


def named(name: bytes) -> list[Step]:
    """A VNC session whose desktop has this name."""
    pixels = bytes.fromhex("20180001 00ff00ff00ff 100800 000000")
    init = b"\0\x10\0\x10" + pixels + len(name).to_bytes(4, "big") + name
    return [*HANDSHAKE, (S, init, 7 * MS)]


def report_of(*captures: Path, label: str | None = None) -> Report:
    report = Report("a title", "2026-01-01 00:00 UTC")
    for path in captures:
        with open_capture(path) as capture:
            for dissected in dissect(read(capture)):
                report.add(label or path.name, str(path), dissected)
        report.inputs.append(Input(label or path.name, "read"))
    return report


def trials() -> list[Row]:
    return [row("a-client", "a-server"), row("b-client", "a-server", ns=5_000 * MS, by=None)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many conversations of all kinds, with trials and an input that cannot be read."""
    folder = tmp_path_factory.mktemp("page")
    kinds: list[list[Step]] = [CURE, FAST, HANG, named(b"a desktop")]
    many = write(folder / "many.pcapng", *(kinds[number % 4] for number in range(MANY)))
    report = report_of(many, PCAPS / "gvncviewer--qemu-spice.pcapng")
    report.inputs.append(Input("bad.pcap", "", ["at byte 0: not a capture but text"]))
    report.runs.append(("run", trials()))
    path = folder / "report.html"
    path.write_text(report.html(), "utf-8")
    return path


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.look()
    browser.open(page.as_uri())
    return browser


def column(browser: Browser, number: int) -> list[str]:
    return [cells[number] for cells in rows(browser, "conversations")]


def status(browser: Browser) -> str:
    return str(browser.run("document.querySelector('#table-conversations .status').textContent"))


def type_in(browser: Browser, words: str) -> None:
    browser.run(
        f"{{ const search = document.querySelector('#conversations-search'); search.value = '{words}';"
        " search.dispatchEvent(new Event('input')); }"
    )


pytestmark = pytest.mark.program("chromium")


def test_it_loads_quietly_and_fetches_nothing_but_itself(opened: Browser, page: Path) -> None:
    assert opened.said == []
    assert opened.fetched == [page.as_uri()]
    text = opened.run("document.body.innerText")
    assert opened.run("document.querySelector('h1').innerText").startswith(
        f"Of {MANY + 1} conversations, 67 spoke the wrong protocol"
    )
    assert "bad.pcap\tnot read\tat byte 0: not a capture but text" in text
    assert opened.run("document.querySelectorAll('.odd li').length") == MOST_ODD
    assert opened.run(
        "[...document.querySelectorAll('.map td')].map(cell => cell.className.split(' ')[0])"
    ) == [*("time", "hang") * 2]


def test_sorting(opened: Browser) -> None:
    opened.run("document.querySelectorAll('#table-conversations thead button')[5].click()")
    assert opened.run("document.querySelectorAll('[aria-sort=ascending]').length") == 1
    noticed = column(opened, 6)
    assert noticed[:2] == ["0.05 ms, 42 B, close"] * 2
    order = [opened.run(f"({_NUMBER})({text!r})") for text in noticed if text]
    assert order == sorted(order)
    opened.run("document.querySelectorAll('#table-conversations thead button')[5].click()")
    assert opened.run("document.querySelectorAll('[aria-sort=descending]').length") == 1
    assert column(opened, 6)[0].startswith("≥ 20")
    opened.run("document.querySelectorAll('#table-conversations thead button')[0].focus()")
    opened.press("Enter", 13, "\r")  # by the keyboard, the names as a person orders them
    assert column(opened, 1)[:3] == ["gvncviewer--qemu-spice.pcapng/0", "many.pcapng/0", "many.pcapng/1"]
    assert column(opened, 1)[11] == "many.pcapng/10"


_NUMBER = "text => parseFloat(text.replace('≥ ', '')) * (/ s/.test(text) ? 1000 : 1)"


def test_searching_and_choosing(opened: Browser) -> None:
    type_in(opened, "RFB many 127.0.0.1:4010")
    found = column(opened, 1)
    assert found == [f"many.pcapng/{number}" for number in range(100, 110) if number % 4 != 2]
    assert status(opened) == f"Rows 1 to {len(found)} of {len(found)} (of {MANY + 1} rows)"
    type_in(opened, "no such words")
    assert status(opened) == f"No row matches (of {MANY + 1} rows)"
    opened.run("document.querySelector('a[data-choose=silent]').click()")
    assert set(column(opened, 5)) == {"silent"}
    assert status(opened).startswith("Rows 1 to 32 of 32")
    assert (
        opened.run("[...document.querySelectorAll('#table-conversations select')].at(-2).value") == "silent"
    )
    opened.run("document.querySelector('#table-conversations .tools button').click()")
    assert status(opened) == f"Rows 1 to 50 of {MANY + 1}"


def test_paging(opened: Browser) -> None:
    first = column(opened, 1)
    assert len(first) == 50
    opened.run("document.querySelector('.pager').lastElementChild.click()")
    opened.run("document.querySelector('.pager').lastElementChild.click()")
    last = column(opened, 1)
    assert len(last) == MANY + 1 - 100
    assert not set(first) & set(last)
    assert opened.run("document.querySelector('.pager').lastElementChild.disabled")
    opened.run(
        "{ const page = document.querySelector('.pager input'); page.value = 1;"
        " page.dispatchEvent(new Event('change')); }"
    )
    assert column(opened, 1) == first


def test_each_conversation_has_a_link(browser: Browser, page: Path) -> None:
    browser.look()
    browser.open(f"{page.as_uri()}#{link('many.pcapng/120')}")
    browser.until("document.querySelector('.fb-ladder') !== null")
    assert "many.pcapng/120" in column(browser, 1)
    assert "many.pcapng, conversation 120" in browser.run("document.querySelector('.inside').innerText")
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    type_in(browser, "qemu")  # a link leads out of a search too
    browser.run("document.querySelectorAll('.odd a')[2].click()")
    browser.until("document.querySelectorAll('.fb-ladder').length === 1")
    target = browser.run("document.querySelector('tr.target td a').textContent")
    assert target == browser.run("document.querySelectorAll('.odd a')[2].textContent")
    browser.run("document.querySelector('tr.target .toggle').click()")
    assert browser.run("document.querySelectorAll('.detail').length") == 0
    browser.open(f"{page.as_uri()}#%E0%A4%A")  # no name of anything
    assert browser.said == []


def test_what_strangers_wrote_is_text(browser: Browser, tmp_path: Path) -> None:
    names = [SCRIPT, '"><img src=x onerror=alert(1)>', "</script><!--<script>", "'onmouseover='alert(1)"]
    source = write(tmp_path / "x.pcapng", *(named(name.encode()) for name in names), CURE)
    label = f"{SCRIPT}\"'><img src=x onerror=alert(2)>.pcapng"
    report = report_of(source, label=label)
    report.title = NASTY
    report.inputs.append(Input(NASTY, "", [NASTY]))
    report.runs.append((NASTY, [row(NASTY, SCRIPT), row("a", NASTY, lost=NASTY)]))
    path = tmp_path / "report.html"
    path.write_text(report.html(), "utf-8")
    browser.look()
    browser.open(path.as_uri())
    for number in range(len(names)):
        browser.run(f"document.querySelectorAll('.toggle')[{number}].click()")
    browser.until(f"document.querySelectorAll('.fb-ladder').length === {len(names)}")
    text = browser.run("document.body.textContent")
    assert browser.said == []
    assert browser.fetched == [path.as_uri()]
    for name in (*names, label):
        assert name in text, name
    assert browser.run("document.querySelectorAll('img, iframe, object, base, form').length") == 0
    assert browser.run("document.querySelectorAll('script:not([type])').length") == 1
    handlers = "[...document.querySelectorAll('*')].flatMap(one => [...one.attributes])"
    assert browser.run(f"{handlers}.filter(one => one.name.startsWith('on')).length") == 0
    browser.run("document.querySelector('.odd a').click()")
    assert label in browser.run("document.querySelector('tr.target').textContent")


def test_the_policy_forbids_what_escaping_should_have_stopped(opened: Browser) -> None:
    opened.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 1\">')")
    opened.run("{ const one = document.createElement('script'); one.text = 'window.broken = 2';"
               " document.body.append(one); }")  # fmt: skip
    refused = opened.run("fetch('http://127.0.0.1:9/').then(() => 'fetched', error => String(error))")
    assert refused.startswith("TypeError")
    assert opened.run("window.broken === undefined")
    assert sum("Content Security Policy" in line for line in opened.said) >= 3
    assert not [one for one in opened.fetched if not one.startswith("file:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Browser, page: Path, scheme: str) -> None:
    browser.look(width=390, height=844, scheme=scheme)
    browser.open(f"{page.as_uri()}#{link('many.pcapng/3')}")
    browser.until("document.querySelector('.fb-ladder') !== null")
    assert browser.run("document.documentElement.scrollWidth") == 390
    ground, ink = (
        int(re.findall(r"\d+", browser.run(f"getComputedStyle(document.documentElement).{name}"))[0])
        for name in ("backgroundColor", "color")
    )
    assert (ground > ink) == (scheme == "light")
    assert abs(ground - ink) > 150
    browser.run(
        "{ const by = document.querySelector('#table-conversations .narrow select'); by.value = '0 -1';"
        " by.dispatchEvent(new Event('change')); }"
    )
    assert column(browser, 1)[0] == f"many.pcapng/{MANY - 1}"


def test_in_print_the_ladders_of_a_few_are_there(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_of(write(tmp_path / "x.pcapng", CURE, FAST, HANG)).html(), "utf-8")
    browser.look()
    browser.open(path.as_uri())
    browser.run(
        "window.printed = 0; window.addEventListener('beforeprint',"
        " () => { window.printed = document.querySelectorAll('.fb-ladder').length; })"
    )
    assert browser.printed().startswith(b"%PDF")
    assert browser.run("window.printed") == 3
    browser.until("document.querySelectorAll('.fb-ladder').length === 0")
    assert browser.said == []


def test_everything_that_can_be_used_has_a_name(opened: Browser) -> None:
    opened.ask("Accessibility.enable")
    nodes = opened.ask("Accessibility.getFullAXTree")["nodes"]
    opened.ask("Accessibility.disable")
    used = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] in ("button", "combobox", "searchbox", "spinbutton", "link", "table")
    ]
    assert len(used) > 60
    assert not [one for one in used if not one[1]]
    levels = opened.run("[...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_secrets_are_left_out() -> None:
    captures = [
        path
        for path in sorted(PCAPS.glob("*-password.pcapng"))
        if "-tls" not in path.name and "-x509" not in path.name  # all that is secret there is encrypted
    ]
    report = report_of(*captures)
    whole = report.html() + "".join(report.conversations.table.details())
    secrets = []
    for path in captures:
        with open_capture(path) as capture:
            for dissected in dissect(read(capture)):
                for record in dissected.records:
                    if isinstance(record, Message) and record.fields() != record.fields(secrets=True):
                        shown, hidden = record.fields(secrets=True), record.fields()
                        secrets += [
                            str(shown[key]) for key in shown if shown[key] and shown[key] != hidden[key]
                        ]
    assert len(secrets) >= len(captures)
    assert not [secret for secret in secrets if secret in whole]
    assert "VncAuthenticationResponse" in whole


def test_comments_and_names_of_the_capture(tmp_path: Path) -> None:
    report = Report()
    with open_capture(noted(tmp_path / "x.pcapng")) as capture:
        capture.notes.packets = True
        comments = Comments(capture.notes)
        for dissected in dissect(read(capture)):
            report.add("x", "x.pcapng", dissected, None, comments)
    table = report.conversations.table
    (details,) = table.details()
    assert "<h4>Comments in the capture</h4>" in details
    assert r"client, packet 1, 0.000 ms: the \x1b[31mfirst</li>" in details
    assert "nothing here" not in details
    assert table.to_json()["rows"][0][1] == r"127.0.0.1:40000 (vm7\x1b.example)"


def test_the_same_inputs_give_the_same_file() -> None:
    first, again = (report_of(PCAPS / "spicy--qemu-vnc.pcapng").html() for _ in range(2))
    assert first == again
    assert "http" not in first.replace("http-equiv", "")


def test_of_nothing_it_says_so() -> None:
    assert Report().answer() == "Nothing that could be read"
