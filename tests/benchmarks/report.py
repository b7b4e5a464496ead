# SPDX-License-Identifier: GPL-2.0-or-later
"""A report of 10,000 conversations beside one of 100, in Chromium: loading, sorting, searching, a link.

    python -m tests.benchmarks.report

Times are the browser's own, medians of five, and mean little by themselves; the ratios are the answer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from dissect.app import main as app
from tests.app.captures import CURE, FAST, HANG, write
from tests.report.browser import Browser
from tests.report.test_page import named

SIZES = (100, 10_000)
TABLE = "document.querySelector('#table-conversations')"
ACTS = {
    "sort by name": f"{TABLE}.querySelectorAll('thead button')[0].click()",
    "sort by time": f"{TABLE}.querySelectorAll('thead button')[5].click()",
    "search": f"{{ const one = {TABLE}.querySelector('input'); one.value = one.value ? '' : 'spice 127';"
    " one.dispatchEvent(new Event('input')); }",
    "another page": f"{{ const one = {TABLE}.querySelector('.pager input'); one.value = 3 - one.value;"
    " one.dispatchEvent(new Event('change')); }",
    "open a link": "location.hash = '#' + encodeURIComponent('x.pcapng/' + Math.trunc(Math.random() * 100))",
}
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def measure(browser: Browser, page: Path) -> dict[str, float]:
    """Milliseconds of each act, until the page is drawn again."""
    loads = []
    for _ in range(5):
        browser.open(page.as_uri())
        loads.append(float(browser.run(LOADED)))
    found = {"load": median(loads)}
    for name, script in ACTS.items():
        timed = (
            f"(async () => {{ const began = performance.now(); {script};"
            " await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));"
            " return performance.now() - began; })()"
        )
        found[name] = median(float(browser.run(timed)) for _ in range(5))
    if browser.said:
        sys.exit(f"the page complains: {browser.said}")
    return found


def main() -> int:
    """Make both reports and print a line for each act."""
    kinds = [CURE, FAST, HANG, named(b"a desktop")]
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        browser.look()
        results = []
        for size in SIZES:
            capture = write(Path(folder) / "x.pcapng", *(kinds[number % 4] for number in range(size)))
            page = Path(folder) / f"{size}.html"
            if app.main(["report", str(capture), "-o", str(page)]) != app.PASS:
                return 1
            results.append((page.stat().st_size / 1000, measure(browser, page)))
    print(f"load average {os.getloadavg()[0]:.2f}")
    print(f"{'':14}{SIZES[0]:>12,}{SIZES[1]:>12,}  ratio (conversations: {SIZES[1] // SIZES[0]})")
    (few_size, few), (many_size, many) = results
    rows = [("size, kB", few_size, many_size), *((f"{name}, ms", few[name], many[name]) for name in few)]
    for name, one, other in rows:
        print(f"{name:16}{one:>10,.1f}{other:>12,.1f}  {other / one:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
