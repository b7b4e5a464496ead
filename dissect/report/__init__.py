# SPDX-License-Identifier: GPL-2.0-or-later
"""What was found, as files that one can send to somebody who has none of our tools.

    page           the report: one HTML file with everything in it
    conversations  its rows of conversations, each with a ladder
    sessions       its rows of SPICE sessions, which have a conversation for each channel
    trials         its rows and maps of trials, and of probes
    checks         its rows of a check run
    tables         tables that a page sorts, searches and pages by itself
    ladder         one conversation as a ladder, HTML and SVG; for the report and for notebooks
    remarks        what was found, as comments on the packets where it happened
    markup         HTML that cannot forget to escape

Captures hold text that strangers chose. Here it becomes markup, so nothing is ever pasted together by hand:
all of it goes through `markup.tag`, which escapes whatever is not markup already.

May import `dissect.timing` and what lies below it, and nothing that is not Python's own. It opens no file,
reads no clock, and what it makes fetches nothing.
"""
