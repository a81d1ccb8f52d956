# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the weight changes, and the canary beside the others, where people and programs see it: gate, check, plan, page.

The telemetry is such that at the canary's 60 % every fourth decision flips, and none at its 10 %.
"""

from __future__ import annotations

import json

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import TelemetryError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Clock
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.monitor import run_unit
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.figures import Figures
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Verdict
from helpers.run_module import run_module
from helpers.samples import BASELINE, make_record
from helpers.telemetry import MODELS, STREAM, entry, now_ms, publish, vote

CANARY = "patchtst"
HEAVY = {"xgb": 0.125, "lgbm": 0.125, "nhits": 0.15, "patchtst": 0.6}
OUTNUMBERED = ("BUY", "SELL", "HOLD")
BOOT_ID = "kernel/mark"
HOURS = 3_600_000
LIMIT = {"flip_share_max": 0.2}


def ensemble(i, _said):
    """The three others agree, and the canary with them, but for every fourth decision, in which it stands alone."""
    others = OUTNUMBERED[i % 3]
    own = others if i % 4 else OUTNUMBERED[(i + 1) % 3]
    sure = {name: round(0.35 + 0.6 * ((i * 0.6180339887 + place * 0.31) % 1), 6) for place, name in enumerate(MODELS)}
    sure[CANARY] = max(sure[CANARY], 0.75) if not i % 4 else sure[CANARY]
    return {name: vote(own if name == CANARY else others, sure[name], f"{name}_net") for name in MODELS}


# They agree too well for the rules of an ensemble: those are not what is looked at here.
LIMITS = {"max_agreement": 100, "max_hard_disagree": 100}


def ago(seconds):
    return str(now_ms() - int(1000 * seconds))


@pytest.fixture
def telemetry(redis_server):
    publish(redis_server.client(), 1200, start_ms=now_ms() - 1_200_000, spoil=ensemble)
    return redis_server


def gate(telemetry, **options):
    raw = {"cutover": ago(600), "models": [CANARY], "limits": LIMITS, "fail_on_violation": False, **options}
    return run_module("qsc_quality_gate", **raw, **telemetry.options())


def test_the_gate_tells_what_every_share_would_change(telemetry):
    result = gate(telemetry, baseline=BASELINE, weight=0.6)
    assert result["passed"], result["reason"]
    impact = result["impact"]
    assert (impact["model"], impact["vote"], impact["weight"]) == (CANARY, "confidence_weighted", 0.6)
    shares = {row["share"]: row for row in impact["shares"]}
    assert sorted(shares) == [0.0, 0.1, 0.25, 0.5, 0.6, 1.0]
    n = impact["decisions"]
    assert n == result["events"] == shares[1.0]["decisions"]
    assert shares[1.0]["flipped"] in (n // 4, n // 4 + 1)
    assert shares[0.1]["flip_share"] == 0.0 < shares[0.6]["flip_share"] <= 0.26
    assert (impact["first_id"], impact["last_id"]) == (result["window"]["first_id"], result["window"]["last_id"])
    assert {row["symbol"] for row in shares[1.0]["symbols"]} == {"BTCUSDC"}
    assert sum(row["count"] for row in shares[0.6]["directions"]) == shares[0.6]["flipped"]
    assert any(line.startswith("impact    at 60 %: 2") for line in result["report_lines"])
    assert any(
        line.startswith("beside    agrees with the majority of the others: 7") for line in result["report_lines"]
    )
    assert "## What the weight changes" in result["report"] and "| 60 % (asked for) |" in result["report"]
    assert "## Beside the other models" in result["report"]


def test_without_a_baseline_the_gate_says_nothing_of_shares_and_still_compares(telemetry):
    result = gate(telemetry, weight=0.6)
    assert result["impact"] is None
    assert "What the weight changes" not in result["report"]
    assert result["comparison"]["incumbents"]["xgb"]["coverage"] == 1.0
    several = gate(telemetry, models=[], baseline=BASELINE)
    assert (several["impact"], several["comparison"], several["reference"]) == (None, None, None)


def test_the_gate_holds_the_share_against_its_limit_only_where_one_is_set(telemetry):
    limits = {**LIMITS, **LIMIT}
    result = gate(telemetry, baseline=BASELINE, weight=0.6, limits=limits)
    assert (result["passed"], [item["code"] for item in result["violations"]]) == (False, ["flip_share"])
    assert "Flip share: 2" in result["reason"]
    assert gate(telemetry, baseline=BASELINE, weight=0.1, limits=limits)["passed"]
    unknown = gate(telemetry, weight=0.6, limits=limits)
    assert unknown["passed"]
    assert any("flip_share_max is not judged" in line for line in unknown["report_lines"])


def test_the_drift_of_the_gate_is_against_the_time_before_the_cutover(telemetry):
    found = gate(telemetry)["comparison"]["drift"]
    assert (found["reason"], set(found["models"])) == ("", set(MODELS))
    assert not any(row["canary_moved"] for row in found["shift"].values())
    early = gate(telemetry, cutover=ago(1300))["comparison"]["drift"]
    assert early["reason"] == "nothing before the cutover to compare with"


@pytest.mark.parametrize("policy", ["strict", "sequential"])
def test_a_check_tells_what_the_weight_changes_and_compares(telemetry, policy):
    reference = gate(telemetry)["reference"]
    assert len(reference["models"]) == 4
    options = {
        "model": CANARY, "since": ago(500), "weight": 0.6, "baseline": BASELINE, "policy": policy, "limits": LIMITS,
        **telemetry.options(),
    }  # fmt: skip
    for given in ({"reference": reference}, {}):
        result = run_module("qsc_monitor_check", **options, **given)
        assert result["verdict"] == "ok"
        impact = result["impact"]
        assert impact["decisions"] == result["events"] > 400
        assert 0.2 < impact["flip_share"] < 0.26
        assert impact["weights"]["xgb"] == pytest.approx(HEAVY["xgb"])
        assert result["comparison"]["drift"]["reason"] == ""
        assert "## What the weight changes" in result["scoreboard"]
        assert "## Beside the other models" in result["scoreboard"]
        assert any(line.startswith("flips     2") for line in result["report_lines"])


def test_a_check_holds_the_positions_of_the_flips_against_a_budget(redis_server, tmp_path):
    def sized(i, said):
        return entry(ensemble(i, said), position_size_usd=50)

    publish(redis_server.client(), 1200, start_ms=now_ms() - 1_200_000, spoil=sized)
    options = {
        "model": CANARY, "since": ago(500), "weight": 0.6, "baseline": BASELINE, "limits": LIMITS,
        "state_path": str(tmp_path / "state.json"), **redis_server.options(),
    }  # fmt: skip
    result = run_module("qsc_monitor_check", **options, exposure_budget=1_000_000)
    flips = result["exposure"]["flipped"]
    assert (result["verdict"], result["exit_code"], result["changed"]) == ("ok", 0, False)
    assert 100 < flips == result["impact"]["flipped"]
    assert result["exposure"]["usd"] == 50.0 * flips
    again = run_module("qsc_monitor_check", **options, exposure_budget=1_000_000)
    assert again["exposure"] == result["exposure"], "with a state nothing is counted twice"
    spent = run_module("qsc_monitor_check", **options, exposure_budget=50 * flips)
    assert spent["failed"] and "Exposure budget spent" in spent["msg"]
    assert (spent["verdict"], spent["exit_code"], spent["violations"]) == ("terminated", 1, spent["violations"])
    assert [item["code"] for item in spent["violations"]] == ["exposure_budget"]
    kept = run_module("qsc_monitor_check", **options, exposure_budget=50 * flips, fail_on_violation=False)
    assert (kept.get("failed", False), kept["verdict"]) == (False, "terminated")
    for wrong, words in ((-5, "exposure_budget=-5.0 is out of range"), ("much", "exposure_budget")):
        refused = run_module("qsc_monitor_check", **options, exposure_budget=wrong)
        assert refused["failed"] and words in refused["msg"]


def test_a_check_without_weights_shows_no_flips_and_a_limit_without_them_is_refused(telemetry):
    options = {"model": CANARY, "since": ago(500), **telemetry.options()}
    result = run_module("qsc_monitor_check", **options, limits=LIMITS)
    assert (result["verdict"], result["impact"]) == ("ok", None)
    result = run_module("qsc_monitor_check", **options, limits={**LIMITS, **LIMIT})
    assert result["failed"] and "flip_share_max=0.2 cannot be judged without the baseline's weights" in result["msg"]
    result = run_module("qsc_monitor_check", **options, baseline={"xgb": "much"})
    assert result["failed"] and "baseline: xgb='much' is not a weight" in result["msg"]
    result = run_module("qsc_monitor_check", **options, reference={"size": 5})
    assert result["failed"] and "is not what a gate has learnt" in result["msg"]


def test_a_plan_tells_what_every_share_would_change(telemetry):
    result = run_module(
        "qsc_plan", model=CANARY, baseline=BASELINE, weight=0.1, vote="weight_only", starts=2, **telemetry.options()
    )
    assert result["impact"]["vote"] == "weight_only"
    assert result["impact"]["decisions"] == 1200
    assert any(
        line.startswith("impact    at 10 %: 0.0 % of the ensemble's decisions") for line in result["report_lines"]
    )
    assert run_module("qsc_plan", model=CANARY, starts=2, **telemetry.options())["impact"] is None


class Host:
    """A host whose monitor checks a canary at 60 %, activated three hours ago."""

    def __init__(self, folder, server):
        self.paths = Paths(prefix=folder)
        self.paths.monitor_folder.mkdir(parents=True)
        self.paths.run.mkdir(parents=True)
        self.server = server
        self.begin_ms = self.last_ms = now_ms() - 3 * HOURS
        client = server.client()
        publish(client, 900, start_ms=self.begin_ms - 1_000_000, spoil=ensemble)
        info = client.xinfo_stream(STREAM)
        self.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}

    def run(self, count, step_ms, *, weights=None, **judging):
        weights = weights or HEAVY
        start_ms = max(self.last_ms + 1, now_ms() - (count - 1) * step_ms)
        self.last_ms = start_ms + (count - 1) * step_ms
        publish(self.server.client(), count, start_ms=start_ms, step_ms=step_ms, spoil=ensemble)
        raw = {"stream": STREAM, "match": {}, "stale_after": 120.0, "max_wait": 36000.0, "limits": LIMITS, **judging}
        record = make_record(
            since=self.since, judging=raw, boot_id=BOOT_ID, activated_boot=3200.0, activated_at=self.begin_ms / 1000,
            weight=weights[CANARY], weights=weights,
        )  # fmt: skip
        save(self.paths.record, record)
        clock = StillClock(self.paths.boot_mark)
        return run_unit(self.paths, lambda: Connection.from_dict(self.server.options()), clock=clock)

    @property
    def verdict(self):
        return Verdict.from_hostile(self.paths.verdict.read_bytes())

    @property
    def page(self):
        return self.paths.scoreboard.read_text()

    @property
    def flip_rule(self):
        rules = Figures.from_hostile(self.paths.figures.read_bytes()).rules
        return next((rule for rule in rules if rule.name == "flip share"), None)


class StillClock(Clock):
    def boot(self):
        return 13_000.0

    def boot_id(self, *, create=True):  # noqa: ARG002 (the clock's signature)
        return BOOT_ID


@pytest.fixture
def host(tmp_path, redis_server):
    return Host(tmp_path, redis_server)


@pytest.mark.parametrize("policy", ["strict", "sequential"])
def test_every_check_of_the_unit_shows_flips_of_the_weights_in_force(host, policy):
    assert host.run(400, 20_000, policy=policy)[0] == 0
    assert "- Now: 2" in host.page and "(voted as confidence_weighted)" in host.page
    assert host.flip_rule is not None
    assert 20 < host.flip_rule.value < 26 and host.flip_rule.limit == 100.0
    json.loads(host.paths.figures.read_text())


def test_a_limit_of_flips_ends_a_strict_run_from_enough_decisions_on(host):
    limits = {**LIMITS, **LIMIT}
    assert host.run(150, 20_000, limits=limits)[0] == 0, host.verdict.message
    assert host.verdict.verdict == "waiting"
    assert host.run(150, 1, limits=limits)[0] == 1
    assert [item.code for item in host.verdict.violations] == ["flip_share", "no_go"]
    assert host.verdict.status == "NO-GO"
    assert host.flip_rule is not None and host.flip_rule.limit == 20.0


def test_a_small_share_keeps_the_limit(host):
    assert host.run(400, 20_000, weights={**HEAVY, CANARY: 0.01}, limits={**LIMITS, **LIMIT})[0] == 0
    assert host.verdict.status == "GO"


def test_under_sequential_flips_end_a_run_when_that_is_certain(host):
    """A quarter flips: that is kept under 30 %, and certain to be beyond 20 %."""
    limits = {**LIMITS, "flip_share_max": 0.3}
    assert host.run(1000, 10_000, policy="sequential", limits=limits)[0] == 0, host.verdict.message
    assert host.verdict.status == "GO"
    assert host.flip_rule is not None
    assert (host.flip_rule.limit, host.flip_rule.state) == (30.0, "kept")
    assert "flip share at most 30 %: kept for certain, 25.0 %" in host.page
    host.paths.monitor_state.unlink()
    assert host.run(10, 1, policy="sequential", limits={**LIMITS, **LIMIT})[0] == 1
    assert [item.code for item in host.verdict.violations] == ["flip_share", "no_go"]
    (found, _derived) = host.verdict.violations
    assert (found.subject, found.limit) == (CANARY, 20.0)
    assert found.message.startswith("Flip share: flip share=2")
    assert "of canaries that keep the rule" in found.message


def test_what_is_only_shown_and_cannot_be_read_changes_no_verdict(host, monkeypatch):
    plain = StreamReader.newest

    def newest(self, count, after, until):
        if after == type(after).parse(host.since["id"]):
            raise TelemetryError("too slow", transient=True)
        return plain(self, count, after, until)

    monkeypatch.setattr(StreamReader, "newest", newest)
    code, lines = host.run(400, 20_000, policy="sequential")
    assert (code, host.verdict.verdict) == (0, "ok")
    assert "What the weight changes" not in host.page and host.flip_rule is None
    assert not any("could not be written" in line for line in lines)
