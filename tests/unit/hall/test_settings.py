# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: what is wrong is refused by name, with its value and what to do; what is right survives a round trip."""

from __future__ import annotations

import json
import math
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, RecordUnreadable
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import (
    ENVIRONMENT,
    Paths,
    Settings,
    model_name,
)

HUGE = 10**400
NUMBERS = ("interval_s", "duration_s", "hold_s", "arming_timeout_s", "stability_s", "required_checks")
COUNTS = ("min_events", "window_events")
BAD_NUMBERS: tuple[t.Any, ...] = ("30", None, True, math.nan, math.inf, -math.inf, -1, HUGE, -HUGE, [], {})
BAD_TEXTS: tuple[t.Any, ...] = (5, None, True, [], "two\nlines", "nul\0")

BAD = [
    *[(name, value) for name in NUMBERS + COUNTS for value in BAD_NUMBERS],
    *[(name, value) for name in ("engine_unit", "stream", "baseline_path", "weights_field") for value in BAD_TEXTS],
    *[
        (name, value)
        for name in ("match", "aliases", "environment", "limits", "connection")
        for value in ("", None, [])
    ],
    *[(name, value) for name in ("match", "aliases") for value in ({"a": 5}, {5: "a"}, {"a": None})],
    ("interval_s", 0.49),
    ("interval_s", 3601),
    ("duration_s", 0),
    ("required_checks", 0.49),
    ("required_checks", 1.01),
    ("arming_timeout_s", 4),
    ("min_events", 0),
    ("min_events", 200.5),
    ("min_events", 1_000_001),
    ("stale_after", 0),
    ("stale_after", "soon"),
    ("stale_after", HUGE),
    ("max_wait", math.nan),
    ("max_wait", True),
    ("accept_unproven", "yes"),
    ("accept_unproven", 1),
    ("accept_unproven", None),
    ("ignore_models", "fallback"),
    ("ignore_models", [5]),
    *[("steps", value) for value in ("0.1", None, [], {}, 0.1, [0.0], [-0.1], [1.01], ["0.1"], [True], [math.nan])],
    *[("steps", value) for value in ([0.25, 0.1], [0.1, 0.1], [0.1, None], [HUGE], [0.1, math.inf])],
    *[("approvals", value) for value in ("0.1", None, {}, 0.1, [0.5, 0.25], ["0.5"], [True], [math.nan])],
    *[("freeze_windows", value) for value in ("22:00", None, {})],
    ("own_checks", "yes"),
    ("check_timeout_s", 0.0),
    ("check_timeout_s", math.nan),
    *[("exposure_budget", value) for value in (-1, math.nan, math.inf, "5000", True, None)],
    *[("model_artifacts", value) for value in ("/srv/model.pt", None, [5], ["model.pt"], ["/tmp/model.pt"], ["/a\nb"])],
    ("engine_unit", ""),
    ("engine_unit", "engine"),
    ("engine_unit", "engine.timer"),
    ("engine_unit", "../engine.service"),
    ("engine_unit", "a b.service"),
    ("engine_unit", "x" * 201 + ".service"),
    ("stream", ""),
    ("baseline_path", "weights.json"),
    ("connection", {"login_password": "hunter2"}),
    ("environment", {**ENVIRONMENT, "colour": "COLOUR"}),
    ("environment", {**ENVIRONMENT, "ack": "NOT A NAME"}),
    ("environment", {**ENVIRONMENT, "ack": "PATH=/x"}),
    ("environment", {**ENVIRONMENT, "ack": ""}),
    ("environment", {**ENVIRONMENT, "ack": 5}),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda item: f"{item!r:.40}")
def test_bad_value(name: str, value: t.Any) -> None:
    with pytest.raises(BadInput) as caught:
        Settings.from_dict({name: value})
    error = caught.value
    assert name in error.message
    assert error.remedy, "every refusal says what to do"
    shown = next(iter(value.items()))[0] if isinstance(value, dict) and value else value
    if value is not HUGE and name != "environment" and not (isinstance(value, str) and len(value) > 70):
        assert repr(shown)[:40] in error.message


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({}, "'ack'"),
        ({key: value for key, value in ENVIRONMENT.items() if key != "traffic"}, "'traffic'"),
        ({**ENVIRONMENT, "ack": ENVIRONMENT["model"]}, "one name twice"),
    ],
)
def test_all_four_variables_are_named_and_differ(environment: dict[str, str], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        Settings.from_dict({"environment": environment})


def test_a_password_is_no_setting_and_is_not_shown() -> None:
    with pytest.raises(BadInput) as caught:
        Settings.from_dict({"connection": {"login_password": "hunter2"}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("raw", [None, [], "text", 5])
def test_settings_are_a_dictionary(raw: t.Any) -> None:
    with pytest.raises(BadInput, match="settings="):
        Settings.from_dict(raw)


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="unknown option 'min_event'") as caught:
        Settings.from_dict({"min_event": 5})
    assert "min_events" in caught.value.remedy


GOOD: dict[str, t.Any] = {
    "engine_unit": "orbit-ensemble.service",
    "environment": {"weights": "W", "model": "M", "traffic": "T", "ack": "A"},
    "connection": {"login_host": "127.0.0.1", "login_port": 6380, "tls": True},
    "stream": "orbit:decisions",
    "match": {"source": "orbit"},
    "aliases": {"xgboost": "xgb"},
    "ignore_models": ["fallback"],
    "limits": {"max_hold_share": 80},
    "min_events": 50,
    "window_events": 500,
    "stale_after": 90.0,
    "max_wait": 600.0,
    "policy": "sequential",
    "vote": "weight_only",
    "inconclusive": "extend",
    "max_duration_s": 120.0,
    "interval_s": 0.5,
    "duration_s": 60.0,
    "hold_s": 0.0,
    "arming_timeout_s": 5.0,
    "stability_s": 0.0,
    "required_checks": 1.0,
    "accept_unproven": True,
    "baseline_path": "/srv/orbit/weights.json",
    "weights_field": "weights",
    "on_reboot": "resume",
    "baseline_drift": "keep",
    "page_after": 3,
    "breaker_rollbacks": 0,
    "breaker_window_s": 3600.0,
    "steps": [0.05, 1.0],
    "approvals": [1.0],
    "freeze_windows": [{"days": ["mon"], "from": "22:00", "to": "06:00", "timezone": "Europe/Berlin"}],
    "rollback_to": "previous_step",
    "pre_restart": "/usr/local/bin/pause 'all entries'",
    "post_restart": "/usr/local/bin/go-on",
    "reload_command": "/bin/kill -HUP 1",
    "hook_timeout_s": 5.0,
    "own_checks": True,
    "check_timeout_s": 2.0,
    "model_artifacts": ["/srv/orbit/patchtst.pt"],
    "exposure_budget": 5000.0,
}


def test_round_trip_through_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    settings = Settings.from_dict(GOOD)
    assert settings.to_dict() == GOOD
    path.write_text(json.dumps(settings.to_dict()))
    assert Settings.load(path) == settings


def test_the_defaults_are_good() -> None:
    assert Settings.from_dict({}) == Settings()
    assert Settings.from_dict(Settings().to_dict()).to_dict() == json.loads(json.dumps(Settings().to_dict()))
    assert (Settings().min_events, Settings().duration_s, Settings().required_checks) == (200, 21600.0, 0.95)


@pytest.mark.parametrize("approvals", [[0.3], [0.25, 0.3], [0.2500006]])
def test_an_approval_is_for_one_of_the_steps(approvals: list[float]) -> None:
    with pytest.raises(BadInput, match=r"approvals=.*is none of the steps") as caught:
        Settings.from_dict({"approvals": approvals})
    assert "steps=[0.1, 0.25, 0.5, 1.0]" in caught.value.remedy
    assert Settings.from_dict({"approvals": [0.25, 1]}).approvals == [0.25, 1.0]
    assert Settings.from_dict({"approvals": []}).approvals == []


@pytest.mark.parametrize("value", [None, "auto", ""])
def test_auto(value: t.Any) -> None:
    settings = Settings.from_dict({"stale_after": value, "max_wait": value})
    assert (settings.stale_after, settings.max_wait) == (None, None)


@pytest.mark.parametrize("unit", ["engine.service", "engine@1.service", "a\\x2db.service", "quantum-ai_engine.service"])
def test_names_of_units(unit: str) -> None:
    assert Settings.from_dict({"engine_unit": unit}).engine_unit == unit


def test_judging_holds_what_a_run_is_judged_by() -> None:
    judging = Settings.from_dict(GOOD).judging()
    assert set(judging) == {
        "stream", "match", "aliases", "ignore_models", "limits", "min_events", "window_events", "stale_after",
        "max_wait", "weights_field",
        "policy", "vote", "exposure_budget",
    }  # fmt: skip
    assert all(judging[name] == GOOD[name] for name in judging)


def test_missing_settings_name_the_play(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"config\.json does not exist\. Install the agent"):
        Settings.load(tmp_path / "config.json")


def test_damaged_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"min_events": 20')
    with pytest.raises(RecordUnreadable, match=r"config\.json"):
        Settings.load(path)


@pytest.mark.parametrize("name", ["xgb", "a", "tft-2.1", "nhits_v2", "org:model", "7b", "x" * 64])
def test_names_of_models(name: str) -> None:
    assert model_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "-x",
        ".hidden",
        "_x",
        "../x",
        "a/b",
        "a b",
        "a\n",
        "a;b",
        "$(x)",
        "ä",
        "x" * 65,
        "\x1b[2J",
        None,
        5,
        True,
    ],
)
def test_what_is_no_name_of_a_model(name: t.Any) -> None:
    with pytest.raises(BadInput) as caught:
        model_name(name)
    assert "model=" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("agent_root", "/usr/local/lib/qsc_canary"),
        ("command", "/usr/local/bin/qsc"),
        ("config", "/etc/qsc_canary/config.json"),
        ("password", "/etc/qsc_canary/redis-password"),
        ("record", "/var/lib/qsc_canary/record.json"),
        ("weights", "/var/lib/qsc_canary/weights.json"),
        ("baseline", "/var/lib/qsc_canary/baseline.json"),
        ("gate_report", "/var/lib/qsc_canary/gate_latest.md"),
        ("monitor_state", "/var/lib/qsc_canary/monitor/state.json"),
        ("verdict", "/var/lib/qsc_canary/monitor/verdict.json"),
        ("scoreboard", "/var/lib/qsc_canary/monitor/reports/scoreboard_latest.md"),
        ("figures", "/var/lib/qsc_canary/monitor/reports/scoreboard_latest.json"),
        ("ledger", "/var/log/qsc_canary/qsc_canary.jsonl"),
        ("ledger_anchor", "/var/lib/qsc_canary/ledger_anchor.json"),
        ("ledger_pending", "/run/qsc_canary/ledger_pending.jsonl"),
        ("engine_env", "/run/qsc_canary/engine.env"),
        ("boot_mark", "/run/qsc_canary/boot_id"),
        ("ack", "/run/qsc_canary/ack/ack.json"),
        ("rollout", "/var/lib/qsc_canary/rollout.json"),
        ("lock", "/run/qsc_canary/lock"),
    ],
)
def test_paths(name: str, path: str) -> None:
    assert str(getattr(Paths(), name)) == path
    assert str(getattr(Paths(Path("/elsewhere")), name)) == f"/elsewhere{path}"


def test_the_drop_in_stands_where_the_specification_says() -> None:
    expected = "/etc/systemd/system/quantum-ai_engine.service.d/qsc_canary.conf"
    assert str(Paths().dropin("quantum-ai_engine.service")) == expected


def test_a_run_cannot_be_extended_to_less_than_it_lasts() -> None:
    with pytest.raises(BadInput, match="max_duration_s=21600 is not above duration_s=21600") as caught:
        Settings.from_dict({"inconclusive": "extend", "max_duration_s": 21_600})
    assert "qsc_canary_max_monitor_hours" in caught.value.remedy
    Settings.from_dict({"inconclusive": "hold", "max_duration_s": 60})
