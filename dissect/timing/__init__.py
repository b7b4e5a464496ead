# SPDX-License-Identifier: GPL-2.0-or-later
"""Times with a status, and the pictures of them.

    observations  a verdict -> `Observation`s: how long until a side noticed, exact or censored
    results       a row a trial as NDJSON and Parquet, and what a probe prints
    estimators    medians, bands and comparisons that keep bounds as bounds (scipy, and only here)
    grid          what each pair of a matrix came to, whoever draws it
    rungs         what the ladder of a conversation has on it, whoever draws it
    wording       what a message, a wait or a detection is called in a picture
    plots         ladders, detection times, maps, curves and stairs (matplotlib, and only here)

An observation that the capture or the deadline cut short is censored: it is a bound, and nothing in this
room ever takes it for a value. May touch `dissect.dissection` and what lies below it; reads no clock, opens
no file but the results and the picture it is told to, and imports matplotlib in `plots` alone, so that
observations cost nothing.
"""
