# SPDX-License-Identifier: GPL-2.0-or-later
r"""JUnit XML, in the form that Jenkins, GitLab and GitHub's report actions read.

There is no standard; this keeps to what Maven's Surefire writes and Jenkins' xunit plugin has a schema for
(junit-10.xsd), which is the common part. Properties stand in each test case before its result, as both read
them. Attachments are lines `[[ATTACHMENT|path]]` in `system-out`, the convention of Jenkins' JUnit
Attachments plugin, which GitLab reads too; it takes the first, so a picture should come first.

Any text may be given: what XML 1.0 cannot hold (control characters, lone surrogates, U+FFFE) is written as an
escape, `\x1b`. All else comes back from a parser as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

Result = Literal["passed", "failure", "error", "skipped"]

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no character of XML 1.0 (its section 2.2)."""

ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
IN_ATTRIBUTES = {**ESCAPES, '"': "&quot;", "\n": "&#10;", "\t": "&#9;"}
"""A parser makes spaces of the last two in attributes, and a newline of a carriage return anywhere."""


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test. kind, message, text: of a result that is no pass. properties: name and value. attachments:
    paths, as the reader of the report is to open them.
    """

    __test__ = False  # pytest would take it for tests

    name: str
    classname: str
    seconds: float
    result: Result = "passed"
    kind: str = ""
    message: str = ""
    text: str = ""
    properties: Sequence[tuple[str, str]] = ()
    attachments: Sequence[str] = ()
    output: str = ""
    errors: str = ""
    """What the program under test has said."""


@dataclass(frozen=True, slots=True)
class TestSuite:
    """Tests that belong together. started_ns: Unix time."""

    __test__ = False

    name: str
    cases: Sequence[TestCase]
    started_ns: int
    properties: Sequence[tuple[str, str]] = field(default_factory=tuple)


def document(name: str, suites: Sequence[TestSuite]) -> str:
    """The whole report, to be written as UTF-8."""
    cases = [case for suite in suites for case in suite.cases]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(f"<testsuites{_attributes(name=name)}{_totals(cases)}>")
    for suite in suites:
        lines += _suite(suite)
    lines.append("</testsuites>")
    return "".join(f"{line}\n" for line in lines)


def _suite(suite: TestSuite) -> list[str]:
    when = datetime.fromtimestamp(suite.started_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    lines = [f"<testsuite{_attributes(name=suite.name, timestamp=when)}{_totals(suite.cases)}>"]
    lines += _properties(suite.properties)
    for case in suite.cases:
        lines += _case(case)
    return [*lines, "</testsuite>"]


def _case(case: TestCase) -> list[str]:
    head = _attributes(name=case.name, classname=case.classname, time=f"{case.seconds:.3f}")
    lines = [f"<testcase{head}>", *_properties(case.properties)]
    match case.result:
        case "skipped":
            lines.append(f"<skipped{_attributes(message=case.message)}/>")
        case "failure" | "error" as result:
            about = _attributes(message=case.message, type=case.kind)
            lines.append(f"<{result}{about}>{_text(case.text)}</{result}>")
        case _:
            pass
    tags = [f"[[ATTACHMENT|{path}]]" for path in case.attachments]
    said = "\n".join([*([case.output] if case.output else []), *tags])
    for tag, text in (("system-out", said), ("system-err", case.errors)):
        if text:
            lines.append(f"<{tag}>{_text(text)}</{tag}>")
    return [*lines, "</testcase>"]


def _properties(found: Sequence[tuple[str, str]]) -> list[str]:
    if not found:
        return []
    lines = [f"<property{_attributes(name=name, value=value)}/>" for name, value in found]
    return ["<properties>", *lines, "</properties>"]


def _totals(cases: Sequence[TestCase]) -> str:
    count = {
        result: sum(case.result == result for case in cases) for result in ("failure", "error", "skipped")
    }
    return _attributes(
        tests=str(len(cases)),
        failures=str(count["failure"]),
        errors=str(count["error"]),
        skipped=str(count["skipped"]),
        time=f"{sum(case.seconds for case in cases):.3f}",
    )


def _attributes(**values: str) -> str:
    return "".join(f' {name}="{_escaped(value, IN_ATTRIBUTES)}"' for name, value in values.items())


def _text(text: str) -> str:
    return _escaped(text, ESCAPES)


def _escaped(text: str, escapes: dict[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in NOT_XML.sub(_named, text))


def _named(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:  # an undecodable byte, as Python keeps it
        number -= 0xDC00
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}"
