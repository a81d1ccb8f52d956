# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of the judge for every input, not only for those somebody thought of."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId, parse_cutover
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS, Dialect, normalized, parse
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.loss import Seen, StreamInfo, lost_between
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.summary import (
    EnsembleFigures,
    ModelFigures,
    ensemble_figures,
    mean_std,
    model_figures,
    percentile,
    summarise,
)

LIMITS = Limits()
DIALECT = Dialect.of({"xgboost": "xgb"}, ["fallback"])
probabilities = st.floats(0, 1)
figures = st.one_of(st.floats(-10, 110), st.just(math.nan))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ACTIONS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
spoiled_votes = st.fixed_dictionaries(
    {
        "action": st.sampled_from([*ACTIONS, "buy", None]),
        "confidence": st.one_of(probabilities, st.floats(), json_values),
    },
    optional={"shadow": st.booleans(), "inactive": st.booleans(), "model": st.sampled_from(["m", "m_fallback_rules"])},
)
votes = spoiled_votes | st.fixed_dictionaries({"action": st.sampled_from(ACTIONS), "confidence": probabilities})
breakdowns = st.dictionaries(st.sampled_from(["xgb", "lgbm", "nhits", "fallback", "xgboost"]), votes, min_size=1)


def decision(i, breakdown):
    return parse(StreamId(i, 0), [(b"payload", json.dumps({"model_breakdown": breakdown}).encode())], DIALECT)


# Numbers


@given(st.lists(probabilities, min_size=1, max_size=300), st.sampled_from([0, 10, 50, 90, 100]) | st.floats(0, 100))
def test_percentiles_equal_numpys(values, p):
    assert percentile(sorted(values), p) == pytest.approx(float(np.percentile(values, p)), rel=1e-12, abs=1e-15)


@given(st.lists(probabilities, min_size=1, max_size=300))
def test_mean_and_deviation_equal_numpys(values):
    mean, std = mean_std(values)
    assert mean == pytest.approx(float(np.mean(values)), rel=1e-12, abs=1e-15)
    assert std == pytest.approx(float(np.std(values)), rel=1e-9, abs=1e-12)


@given(st.one_of(st.floats(), st.integers(), json_values))
def test_a_confidence_is_in_its_interval_or_invalid(value):
    found = normalized(value)
    bad = isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value < 0
    if bad or value == math.inf or (isinstance(value, int) and value > 10**308):
        assert found is None
    else:
        assert found is not None
        assert 0 <= found[0] <= 1


# Merging


def state(summary):
    models = {
        name: (
            model.counts,
            sorted(model.values),
            model.shadow,
            model.inactive,
            model.normalized,
            model.fallback,
            model.invalid,
        )
        for name, model in summary.models.items()
    }
    return (
        summary.events, summary.first_id, summary.last_id, models, summary.agreement, summary.hard, summary.ignored,
        summary.blockers, sorted(summary.fingerprints),
    )  # fmt: skip


@given(st.lists(st.tuples(breakdowns, st.integers(0, 2)), max_size=25))
def test_summaries_merge_associatively_and_like_one_summary(told):
    parts = [[], [], []]
    everything = []
    for i, (breakdown, part) in enumerate(told):
        read = decision(i + 1, breakdown)
        parts[part].append(read)
        everything.append(read)
    a, b, c = (summarise(part) for part in parts)
    left, right, whole = a.merge(b).merge(c), a.merge(b.merge(c)), summarise(everything)
    assert state(left) == state(right) == state(whole)
    assert state(a.merge(b)) == state(b.merge(a))
    for name in whole.models:
        one = model_figures(name, left.models[name], left.events).to_dict()
        two = model_figures(name, whole.models[name], whole.events).to_dict()
        assert one == two
    assert repr(ensemble_figures(left)) == repr(ensemble_figures(whole))


@given(st.lists(breakdowns, max_size=10), st.lists(breakdowns, max_size=10))
def test_merging_changes_neither_part(ones, twos):
    one, two = (summarise(decision(i + 1, item) for i, item in enumerate(part)) for part in (ones, twos))
    before = repr(state(one)), repr(state(two))
    one.merge(two)
    assert (repr(state(one)), repr(state(two))) == before


@given(st.lists(breakdowns, min_size=1, max_size=25))
def test_figures_are_consistent(told):
    summary = summarise(decision(i + 1, item) for i, item in enumerate(told))
    for name, model in summary.models.items():
        found = model_figures(name, model, summary.events)
        assert sum(found.counts.values()) == found.samples <= summary.events
        if found.samples:
            assert sum(found.shares.values()) == pytest.approx(100)
            assert 0 <= found.p10 <= found.p90 <= 1
            assert 0 <= found.std <= 0.5 + 1e-12
    found = ensemble_figures(summary)
    if found.decisions:
        assert 100 / 3 - 1e-9 <= found.agreement <= 100
        assert 0 <= found.hard_disagree <= 100


# Reading


@given(st.binary(max_size=200))
@example(b"NaN")
@example(b'{"model_breakdown": {"xgb": NaN}}')
def test_no_payload_makes_the_parser_raise(payload):
    found = parse(StreamId(1, 0), [(b"payload", payload)], DIALECT)
    assert found.votes or found.blockers or found.inactive or found.ignored


@given(json_values)
def test_no_breakdown_makes_the_parser_raise_or_say_nothing(breakdown):
    found = parse(StreamId(1, 0), [(b"payload", json.dumps({"model_breakdown": breakdown}).encode())], DIALECT)
    assert found.votes or found.blockers or found.inactive or found.ignored
    for blocker in found.blockers:
        assert blocker.message.isprintable()


@given(st.text(max_size=40))
@example("２")
def test_a_cutover_is_understood_or_refused(text):
    try:
        found = parse_cutover(text, 2**53)
    except BadInput as error:
        assert error.remedy
    else:
        assert found.after.ms <= 2**53 + 2000


@given(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(lambda pair: StreamId(*pair)))
def test_an_id_survives_its_text_and_steps_in_order(entry_id):
    assert StreamId.parse(str(entry_id)) == entry_id
    assume(entry_id.ms < 2**64 - 1)
    assert entry_id.next() > entry_id
    assert entry_id.next().previous() == entry_id


# Rules


def model(**values):
    shares = {action: values[action] for action in ACTIONS}
    return ModelFigures(
        name="m", samples=100, shadow=0, inactive=0, coverage=values["coverage"], voting_coverage=values["coverage"],
        counts={}, shares=shares, mean=0.5, std=values["std"], p10=0.0, p90=0.0, range=values["range"], normalized=0,
        fallback={}, fallback_share=values["fallback_share"], invalid={},
    )  # fmt: skip


MEASURED = ("BUY", "SELL", "HOLD", "std", "range", "fallback_share", "coverage")


@given(st.fixed_dictionaries(dict.fromkeys(MEASURED, figures)))
def test_a_model_passes_only_when_every_figure_is_known_and_inside(values):
    found = {item.code for item in rules.judge_model(model(**values), LIMITS)}
    found |= {item.code for item in rules.judge_coverage("m", values["coverage"], LIMITS)}
    inside = {
        "action_collapse": all(values[action] <= 70 for action in ACTIONS),
        "dead_zone": values["HOLD"] <= 85,
        "flat_predictions": values["std"] >= 0.05,
        "narrow_range": values["range"] >= 0.12,
        "constant_output": values["std"] >= 0.01 and abs(values["range"]) >= 0.001,
        "not_really_running": values["fallback_share"] <= 20,
        "canary_missing": values["coverage"] >= 80,
    }
    assert found == {code for code, passes in inside.items() if not passes}


@pytest.mark.parametrize("unknown", MEASURED)
def test_a_single_unknown_figure_is_enough_to_fail(unknown):
    values = {
        "BUY": 30.0,
        "SELL": 30.0,
        "HOLD": 40.0,
        "std": 0.2,
        "range": 0.5,
        "fallback_share": 0.0,
        "coverage": 100.0,
    }
    assert not rules.judge_model(model(**values), LIMITS)
    values[unknown] = math.nan
    found = rules.judge_model(model(**values), LIMITS) + rules.judge_coverage("m", values["coverage"], LIMITS)
    assert found


@given(figures, figures, st.integers(0, 100))
def test_the_ensemble_passes_only_when_every_figure_is_known_and_inside(agreement, hard, decisions):
    found = rules.judge_ensemble(EnsembleFigures(100, decisions, agreement, hard, {}), LIMITS)
    assert (not found) == (decisions >= 80 and 55 <= agreement <= 80 and hard <= 20)
    word = rules.status(False, EnsembleFigures(100, decisions, agreement, hard, {}), LIMITS)
    assert (word == "GO") == (decisions >= 80 and 55 <= agreement <= 80 and hard < 20)


@given(st.floats(), st.floats(1, 1e6))
def test_silence_that_cannot_be_measured_is_silence(lag, limit):
    assert (not rules.judge_lag(lag, limit)) == (lag <= limit)


# Loss


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_lost_entries_are_never_missed(read, new, kept):
    """``read`` entries were read, ``new`` came after them, the newest ``kept`` are left."""
    ids = [StreamId(i + 1, 0) for i in range(read + new)]
    left = ids[len(ids) - min(kept, len(ids)) :]
    last = ids[-1] if ids else StreamId(0, 0)
    info = StreamInfo(len(left), left[0] if left else None, left[-1] if left else None, last, len(ids), StreamId(0, 0))
    seen = Seen(ids[read - 1] if read else StreamId(0, 0), read, ids[0] if read else None)
    assert bool(lost_between(seen, info)) == (new > len(left))
    if new > len(left):  # and a Redis that does not count may only err on the safe side
        silent = StreamInfo(info.length, info.first_id, info.last_id, last, None, None)
        assert lost_between(Seen(seen.cursor, None, None), silent)
