# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules once more, as plainly as numpy allows: what the reference engine is measured by.

Independent of the collection on purpose: neither may be right by the other's mistake. Only default limits.
"""

from __future__ import annotations

import json
import typing as t

import numpy as np

ACTIONS = ("BUY", "SELL", "HOLD")
Fields = t.Mapping[str, str]


class _Twice(ValueError):
    """One key two times in one object."""


def _pairs(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _Twice
    return dict(pairs)


def breakdown(entry: Fields, aliases: t.Mapping[str, str]) -> dict[str, t.Any] | None:
    """Return the entry's votes by model, or None when it cannot be read."""
    try:
        payload = json.loads(entry["payload"], object_pairs_hook=_pairs)
        found = payload.get("model_breakdown")
        if found is None:
            found = json.loads(entry["model_breakdown"])
    except (ValueError, KeyError):
        return None
    return {aliases.get(name, name): vote for name, vote in found.items() if name != "fallback"}


def model_codes(votes: t.Sequence[t.Mapping[str, t.Any]]) -> set[str]:
    """Return what is wrong with one model's votes."""
    found = set()
    actions, confidences = [], []
    for vote in votes:
        action, said = vote.get("action"), vote.get("confidence")
        if action not in ACTIONS:
            found.add("invalid_action")
            continue
        if type(said) not in (int, float) or not np.isfinite(said) or said < 0:
            found.add("invalid_confidence")
            continue
        actions.append(action)
        confidences.append(said if said <= 1 else 1 / (1 + np.exp(-said)))
    shares = {action: 100 * actions.count(action) / len(actions) for action in ACTIONS}
    if max(shares.values()) > 70:
        found.add("action_collapse")
    if shares["HOLD"] > 85:
        found.add("dead_zone")
    std = np.std(confidences)
    low, high = np.percentile(confidences, [10, 90])
    if std < 0.05:
        found.add("flat_predictions")
    if high - low < 0.12:
        found.add("narrow_range")
    if std < 0.01 or abs(high - low) < 0.001:
        found.add("constant_output")
    unreal = [vote for vote in votes if str(vote["model"]).endswith(("_insufficient_history", "_fallback_rules"))]
    if 100 * len(unreal) / len(votes) > 20:
        found.add("not_really_running")
    return found


def codes(entries: t.Sequence[Fields], canary: str, aliases: t.Mapping[str, str] | None = None) -> set[str]:
    """Return the codes of the canary and the ensemble over these entries."""
    read = [breakdown(entry, aliases or {}) for entry in entries]
    found = {"invalid_payload"} if None in read else set()
    decisions = [votes for votes in read if votes is not None]
    own = [votes[canary] for votes in decisions if canary in votes and not votes[canary].get("inactive")]
    voting = [vote for vote in own if not vote.get("shadow")]
    if 100 * len(voting) / len(entries) < 80:
        found.add("canary_missing")
    if own:
        found |= model_codes(own)
    agreement, hard = [], []
    for votes in decisions:
        said = [
            vote["action"]
            for vote in votes.values()
            if not vote.get("shadow") and not vote.get("inactive") and vote["action"] in ACTIONS
        ]
        agreement.append(max(said.count(action) for action in ACTIONS) / len(said))
        hard.append("BUY" in said and "SELL" in said)
    if not 55 <= 100 * np.mean(agreement) <= 80:
        found.add("agreement_out_of_range")
    if 100 * np.mean(hard) > 20:
        found.add("hard_disagree")
    return found
