# SPDX-License-Identifier: GPL-2.0-or-later
"""What every test shares: which tests are left out here, and that nobody overlooks it.

A test says what it needs by a mark: `peer("xtigervnc")`, a program of the lab's table, or
`program("tshark")`, a command on the PATH. Where something is missing the test is left out, and the
reason stands in the list at the end; under CI=true it fails instead.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter

import hypothesis
import pytest

# A machine that others use too is slow at times; that is no fault of the code under test.
hypothesis.settings.register_profile("firstbyte", deadline=None, print_blob=True)
hypothesis.settings.load_profile("firstbyte")


# Nor is the width of the terminal that the tests happen to run in (one for each of several at once).
os.environ.pop("COLUMNS", None)


# Whole files go to whoever is free: the longest first, or all the others wait for the last of them.
LONGEST = (
    "packaging/test_wheel",
    "replay/test_faults",
    "spice/pixels/test_truth",
    "packaging/test_tools",
    "rfb/pixels/test_truth",
    "app/test_together",
    "app/test_schema",
    "app/test_scan",
    "lab/test_probing",
    "replay/test_real",
    "notebooks/test_notebooks",
    "lab/test_models_real",
    "lab/test_real",
    "docs/test_documents",
    "capture/test_bulk",
    "oracle/test_oracle",
    "capture/test_swift",
    "timing/test_ladders",
    "timing/test_detections",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: one more than there are cores, since many tests wait for real programs and deadlines."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front; all others stay in their order."""
    place = {f"tests/{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Ten thousand tests stay until the end: whoever collects garbage need not walk them every time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a test out, or fail it under CI=true, where a program that it names is not installed."""
    reasons = [f"{name} is not on the PATH" for name in _marked(item, "program") if not shutil.which(name)]
    for name in _marked(item, "peer"):
        reasons += _why_not(name)
    if reasons:
        reason = "; ".join(reasons)
        if os.environ.get("CI") == "true":
            pytest.fail(f"under CI=true nothing is left out, but {reason}", pytrace=False)
        pytest.skip(reason)


def _marked(item: pytest.Item, mark: str) -> list[str]:
    return list(dict.fromkeys(name for found in item.iter_markers(mark) for name in found.args))


def _why_not(name: str) -> list[str]:
    """Why the peer `name` cannot be started here; an unknown name is an error in the test."""
    from dissect.lab.peers import find_peer, load_peers, missing

    peers = load_peers()
    needed = [name, "xvfb"] if find_peer(peers, name).needs else [name]
    return [
        f"{peer.name} is not installed (package {', '.join(peer.package) or 'unknown'})"
        for peer in missing(peers, needed)
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was left out and why, just above pytest's closing line."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("left out")
        for reason, number in reasons.most_common():
            terminalreporter.write_line(f"{number} {'test' if number == 1 else 'tests'}: {reason}")
