# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every part of the policy ``sequential``, taken away one at a time: a named test must turn red."""

from __future__ import annotations

from defect import CORE, Defect

SEQUENTIAL, CLAIMS, FOLD, BUCKETS = (f"{CORE}/judge/{name}.py" for name in ("sequential", "claims", "fold", "buckets"))
TESTS = "tests/integration/test_judge_sequential.py"
FOLD_TESTS = "tests/unit/judge/test_fold.py"

PARTS = (
    Defect(
        "S1",
        "what was read in part counts as unread",
        SEQUENTIAL,
        "None if added is None else added + scanned",
        "added",
        (f"{TESTS}::test_in_parts_too_an_entry_that_was_trimmed_unread_is_noticed",),
    ),
    Defect(
        "S2",
        "a state that cannot be used is taken for an empty one, and nothing is read again",
        SEQUENTIAL,
        "        progress = begin(options)\n",
        "",
        (f"{TESTS}::test_a_corrupt_state_is_rebuilt_from_the_stream",),
    ),
    Defect(
        "S3",
        "every check reads from the marker",
        SEQUENTIAL,
        "reader.oldest(progress.seen.cursor,",
        "reader.oldest(options.since,",
        (f"{TESTS}::test_a_check_reads_only_what_is_new",),
    ),
    Defect(
        "S4",
        "a point beyond the limit is a violation",
        CLAIMS,
        "if (worst > limit + _ROUNDING) if claim.side == ABOVE else (best < limit - _ROUNDING):",
        "if (value > limit + _ROUNDING) if claim.side == ABOVE else (value < limit - _ROUNDING):",
        ("tests/unit/judge/test_claims.py",),
    ),
    Defect(
        "S5",
        "GO without certainty",
        SEQUENTIAL,
        "all(item.state == KEPT for item in readings)",
        "all(item.state != VIOLATED for item in readings)",
        (f"{TESTS}::test_a_healthy_run_waits_is_judged_and_ends_certain",),
    ),
    Defect(
        "S6",
        "GO while a part of the stream is still unread",
        SEQUENTIAL,
        "_status(ours, readings, enough and canary.samples > 0 and not behind)",
        "_status(ours, readings, enough and canary.samples > 0)",
        (f"{TESTS}::test_a_long_backlog_is_read_in_parts_and_nothing_is_certain_before_its_end",),
    ),
    Defect(
        "S7",
        "no change detector",
        CLAIMS,
        "            self.alarms[claim.name] = (cusum.length, self.newest[claim.name] / cusum.length)\n",
        "            pass\n",
        (f"{TESTS}::test_a_change_after_a_long_good_past_is_found",),
    ),
    Defect(
        "S8",
        "no immediate trip",
        SEQUENTIAL,
        "    ours += _immediate(fold, options, canary.shadow)\n",
        "",
        (f"{TESTS}::test_what_is_gross_ends_the_run_at_once",),
    ),
    Defect(
        "S9",
        "no early trip",
        SEQUENTIAL,
        "        ours += rules.judge_early(canary, (fold.last_vote_ms - fold.first_vote_ms) / 1000, limits)\n",
        "        pass\n",
        (f"{TESTS}::test_before_enough_decisions_the_early_trip_works",),
    ),
    Defect(
        "S10",
        "a good past hides that the canary fell silent",
        SEQUENTIAL,
        "fold.silent >= COVERAGE_FROM",
        "fold.silent >= 10**9",
        (f"{TESTS}::test_a_canary_that_falls_silent_is_missing_however_good_its_past",),
    ),
    Defect(
        "S11",
        "the open minute is forgotten between two checks",
        FOLD,
        '            Stretch.from_dict(raw["minute"]),\n',
        "            Stretch(),\n",
        (f"{FOLD_TESTS}::test_however_it_is_split_into_checks_the_state_is_the_same",),
    ),
    Defect(
        "S12",
        "the minutes of the immediate trips are never dropped",
        FOLD,
        "            del self.recent[0]\n",
        "            break\n",
        (f"{FOLD_TESTS}::test_the_state_does_not_grow_with_the_run",),
    ),
    Defect(
        "S13",
        "decisions of other engines on the stream count as lost",
        f"{CORE}/judge/stream.py",
        "                self.scanned += 1\n",
        "                self.scanned += self._selected(entry.fields)\n",
        (f"{TESTS}::test_decisions_of_others_on_a_shared_stream_are_read_over_and_counted_as_read",),
    ),
    Defect(
        "S14",
        "the frame is learnt anew while the run goes on",
        SEQUENTIAL,
        "options.frame is not None and fold.evidence.frame != options.frame",
        "False",
        (f"{TESTS}::test_a_state_of_another_frame_is_not_gone_on_with",),
    ),
    Defect(
        "S15",
        "buckets of a handful of votes count like full ones",
        FOLD,
        "self.bucket.votes >= LEAST_VOTES and (self.alone or self.bucket.voted >= LEAST_VOTES)",
        "self.bucket.votes >= 1",
        (f"{FOLD_TESTS}::test_a_bucket_ends_with_its_last_minute_and_takes_more_while_it_is_small",),
    ),
    Defect(
        "S16",
        "nothing is suspended when the buckets resemble each other",
        CLAIMS,
        "        elif suspended:",
        "        elif False and suspended:",
        ("tests/unit/judge/test_claims.py",),
    ),
    Defect(
        "S17",
        "the limit of flips is no claim",
        CLAIMS,
        "    found.append(Claim(rules.FLIPS, FLIP_METRIC, ABOVE, limits.flip_share_max))\n",
        "",
        ("tests/integration/test_impact.py",),
    ),
    Defect(
        "S18",
        "flips that are folded are forgotten with their minute",
        BUCKETS,
        "        self.flipped += later.flipped\n",
        "",
        (f"{FOLD_TESTS}::test_however_it_is_split_into_checks_the_state_is_the_same",),
    ),
    Defect(
        "S19",
        "what is only shown and cannot be read fails the check",
        SEQUENTIAL,
        "    except TelemetryError:\n        return {}\n",
        "    except KeyError:\n        return {}\n",
        ("tests/integration/test_impact.py::test_what_is_only_shown_and_cannot_be_read_changes_no_verdict",),
    ),
    Defect(
        "S20",
        "what was spent of the budget is forgotten from check to check",
        f"{CORE}/judge/check.py",
        "Spending(change, progress.exposure or Exposure(options.since))",
        "Spending(change, Exposure(progress.exposure.cursor if progress.exposure else options.since))",
        ("tests/unit/judge/test_exposure.py::test_however_checks_split_the_run_every_position_counts_once",),
    ),
    Defect(
        "S21",
        "a spent budget does not end the run",
        f"{CORE}/guard/rollback.py",
        '    if verdict.verdict == "terminated":\n',
        '    if verdict.verdict == "never":\n',
        ("tests/unit/guard/test_diagnose.py", "tests/unit/guard/test_rollback.py"),
    ),
)
