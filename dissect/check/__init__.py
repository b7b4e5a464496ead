# SPDX-License-Identifier: GPL-2.0-or-later
"""A suite of cases against builds: pass, fail, or "look here".

- `suite`: the TOML form: cases, targets, what is expected, how times are judged
- `models`: a model peer of the lab as a target, from a table of its settings
- `targets`: one target started for one case, or found running; what it said and how it ended
- `watching`: what a live peer did, as stable lines and as times, from the capture of a run
- `running`: one case against one target, so often as asked, with its live captures
- `reference`: how fast the machine itself answers
- `baseline`: what a build did, as a small text file for each case
- `judging`: runs against expectation and baseline: same, changed, slower, flaky
- `comparing`: two builds, run in turns
- `runner`: all cases against all targets, some at once, interruptible
- `evidence`: the folder of what failed: live capture, difference, log, picture
- `reporting`: results as rows for NDJSON, JUnit and Markdown
- `pytest_plugin`: the same as a mark and a fixture of pytest
- `suites`: the bundled suite, and its baselines

May use `lab`, `report`, `timing`, `replay` and what is below them. Importing this package, or the plugin,
alone costs nothing: pytest does it at every start.
"""
