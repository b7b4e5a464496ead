# SPDX-License-Identifier: GPL-2.0-or-later
"""JUnit XML: valid against a schema of what its readers take, for any text; and the text comes back."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.report.junit import NOT_XML, TestCase, TestSuite, document

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
NASTY = "\0\x1b[31m\x07 ]]> <b>&amp;\"'\r\n\t\x7f\x85\u2028\ufffe\uffff\udc80\ud800 \U0001f600"

ANY_TEXT = st.text(st.characters(), max_size=40) | st.just(NASTY)
CASES = st.builds(
    TestCase,
    name=ANY_TEXT,
    classname=ANY_TEXT,
    seconds=st.floats(0, 1e6),
    result=st.sampled_from(["passed", "failure", "error", "skipped"]),
    kind=ANY_TEXT,
    message=ANY_TEXT,
    text=ANY_TEXT,
    properties=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=2),
    attachments=st.lists(ANY_TEXT, max_size=2),
    output=ANY_TEXT,
    errors=ANY_TEXT,
)


def parsed(text: str) -> ElementTree.Element:
    SCHEMA.validate(text)
    return ElementTree.fromstring(text.encode("utf-8"))


@settings(max_examples=80)
@given(st.lists(CASES, max_size=3), ANY_TEXT)
def test_any_text_is_valid(cases: list[TestCase], name: str) -> None:
    root = parsed(document(name, [TestSuite(name, cases, 1_700_000_000 * 10**9, [(name, name)])]))
    assert len(root.findall("testsuite/testcase")) == len(cases)
    for element, case in zip(root.iter("testcase"), cases, strict=True):
        if not NOT_XML.search(case.message) and case.result == "failure":
            failure = element.find("failure")
            assert failure is not None
            assert failure.get("message") == case.message
        if not NOT_XML.search(case.name):
            assert element.get("name") == case.name


def test_what_xml_cannot_hold_is_written_as_an_escape() -> None:
    case = TestCase("a", "b", 0, "failure", "diff", NASTY, NASTY)
    failure = parsed(document("s", [TestSuite("s", [case], 0)])).find(".//failure")
    assert failure is not None
    message = failure.get("message")
    assert message == failure.text
    assert message is not None
    assert message.startswith(
        "\\x00\\x1b[31m\\x07 ]]> <b>&amp;\"'\r\n\t\x7f\x85\u2028\\ufffe\\uffff\\x80\\ud800"
    )


def test_the_counts_are_those_of_the_cases() -> None:
    results = ["passed", "failure", "failure", "error", "skipped", "passed"]
    cases = [TestCase(str(n), "c", 0.5, result) for n, result in enumerate(results)]  # type: ignore[arg-type]
    root = parsed(document("s", [TestSuite("s", cases, 0)]))
    for element in (root, root[0]):
        counts = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
        assert counts == {"tests": "6", "failures": "2", "errors": "1", "skipped": "1", "time": "3.000"}


def test_properties_and_attachments_are_where_readers_look() -> None:
    case = TestCase(
        "n",
        "c",
        1,
        "failure",
        "diff",
        "m",
        "t",
        [("version", "7.2")],
        ["a/ladder.png", "a/live.pcapng"],
        "said",
    )
    root = parsed(document("s", [TestSuite("s", [case], 0, [("machine", "x")])]))
    suite = root[0]
    assert [child.tag for child in suite] == ["properties", "testcase"]
    test = suite[1]
    # Surefire's order: properties, then the result, then what was said.
    assert [child.tag for child in test] == ["properties", "failure", "system-out"]
    assert test[0][0].attrib == {"name": "version", "value": "7.2"}
    assert (test[2].text or "").splitlines() == [
        "said",
        "[[ATTACHMENT|a/ladder.png]]",
        "[[ATTACHMENT|a/live.pcapng]]",
    ]
    assert suite.get("timestamp") == "1970-01-01T00:00:00"


def test_the_schema_objects_to_what_is_wrong() -> None:
    good = document("s", [TestSuite("s", [TestCase("n", "c", 1)], 0)])
    for wrong in (
        good.replace("<testcase", "<test").replace("</testcase", "</test"),
        good.replace('tests="1"', 'tests="one"'),
        good.replace(' name="n"', ""),
        good.replace("1970-01-01T00:00:00", "yesterday"),
    ):
        assert wrong != good
        with pytest.raises(xmlschema.XMLSchemaValidationError):
            SCHEMA.validate(wrong)
