# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What an operator decides: the settings of a host, checked once, and where everything stands on it."""

from __future__ import annotations

import re
import shlex
import typing as t
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from .errors import BadInput
from .files import read_json
from .freeze import checked_windows

ENVIRONMENT = {
    "weights": "QSC_CANARY_WEIGHTS",
    "model": "QSC_CANARY_MODEL",
    "traffic": "QSC_CANARY_TRAFFIC",
    "ack": "QSC_CANARY_ACK",
}
"""Names of the variables an engine reads at start."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]{1,200}\.service")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

CONNECTION_KEYS = (
    "login_host",
    "login_port",
    "login_user",
    "login_unix_socket",
    "db",
    "tls",
    "validate_certs",
    "ca_certs",
    "client_cert_file",
    "client_key_file",
    "timeout_s",
)
"""What may stand in ``connection``. The password is not among them: it is a credential, never a setting."""


OPERATOR_KEYS = ("approvals", "freeze_windows", "steps")
"""What an operator may change while a run is in flight: no guard of a run reads it, only who takes the next step."""


@dataclass(frozen=True)
class Paths:
    """Where things stand on a host. ``prefix`` moves all of them, for tests."""

    prefix: Path = Path("/")

    def _at(self, path: str) -> Path:
        return self.prefix / path

    @property
    def agent_root(self) -> Path:
        return self._at("usr/local/lib/qsc_canary")

    @property
    def command(self) -> Path:
        return self._at("usr/local/bin/qsc")

    @property
    def config(self) -> Path:
        return self._at("etc/qsc_canary/config.json")

    @property
    def password(self) -> Path:
        return self._at("etc/qsc_canary/redis-password")

    @property
    def state(self) -> Path:
        return self._at("var/lib/qsc_canary")

    @property
    def record(self) -> Path:
        return self.state / "record.json"

    @property
    def weights(self) -> Path:
        return self.state / "weights.json"

    @property
    def baseline(self) -> Path:
        return self.state / "baseline.json"

    @property
    def gate_report(self) -> Path:
        return self.state / "gate_latest.md"

    @property
    def monitor_folder(self) -> Path:
        return self.state / "monitor"

    @property
    def monitor_state(self) -> Path:
        return self.monitor_folder / "state.json"

    @property
    def verdict(self) -> Path:
        return self.monitor_folder / "verdict.json"

    @property
    def scoreboard(self) -> Path:
        return self.monitor_folder / "reports" / "scoreboard_latest.md"

    @property
    def figures(self) -> Path:
        return self.scoreboard.with_suffix(".json")

    @property
    def ledger(self) -> Path:
        return self._at("var/log/qsc_canary/qsc_canary.jsonl")

    @property
    def ledger_anchor(self) -> Path:
        return self.state / "ledger_anchor.json"

    @property
    def ledger_pending(self) -> Path:
        return self.run / "ledger_pending.jsonl"

    @property
    def run(self) -> Path:
        return self._at("run/qsc_canary")

    @property
    def engine_env(self) -> Path:
        return self.run / "engine.env"

    @property
    def boot_mark(self) -> Path:
        return self.run / "boot_id"

    @property
    def watchdog_state(self) -> Path:
        return self.run / "watchdog.json"

    @property
    def rollback_tries(self) -> Path:
        return self.run / "rollback_tries.json"

    @property
    def page(self) -> Path:
        return self.state / "page.json"

    @property
    def page_in_run(self) -> Path:
        return self.run / "page.json"

    @property
    def freeze(self) -> Path:
        return self._at("etc/qsc_canary/freeze")

    @property
    def rollout(self) -> Path:
        return self.state / "rollout.json"

    @property
    def checks(self) -> Path:
        """The operator's own checks, whose violation ends a run."""
        return self._at("etc/qsc_canary/checks.d")

    @property
    def wanted_checks(self) -> Path:
        """Those that are only shown."""
        return self._at("etc/qsc_canary/wanted.d")

    @property
    def artifacts_seen(self) -> Path:
        return self.run / "artifacts.json"

    @property
    def hook_open(self) -> Path:
        return self.state / "hook_open.json"

    @property
    def previous(self) -> Path:
        return self.state / "previous.json"

    @property
    def restart_due(self) -> Path:
        return self.run / "restart_due"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def ack_folder(self) -> Path:
        return self.run / "ack"

    @property
    def ack(self) -> Path:
        return self.ack_folder / "ack.json"

    @property
    def units(self) -> Path:
        return self._at("etc/systemd/system")

    @property
    def tmpfiles(self) -> Path:
        return self._at("etc/tmpfiles.d/qsc_canary.conf")

    def dropin(self, unit: str) -> Path:
        """The drop-in of an engine."""
        return self.units / f"{unit}.d" / "qsc_canary.conf"


@dataclass(frozen=True)
class DrillPaths(Paths):
    """Where a drill keeps what a run keeps: beside it, in the same folders, so that it meets the same file systems.

    The agent is the real one, and the drop-in stands where an engine's stands. The drill's units do not outlive a boot.
    """

    @property
    def state(self) -> Path:
        return super().state / "drill"

    @property
    def ledger(self) -> Path:
        real = super().ledger
        return real.parent / "drill" / real.name

    @property
    def run(self) -> Path:
        return super().run / "drill"

    @property
    def freeze(self) -> Path:
        """Not that of the host: a frozen host has a way back too, and a drill is no activation."""
        return self.state / "freeze"

    @property
    def checks(self) -> Path:
        """A drill asks for no opinion but its own."""
        return self.state / "checks.d"

    @property
    def wanted_checks(self) -> Path:
        return self.state / "wanted.d"

    @property
    def only_one(self) -> Path:
        """The lock of a drill in progress; outside of what is removed at its end."""
        return super().run / "drill.lock"

    @property
    def engine_weights(self) -> Path:
        """The file the scratch engine reads its own weights from."""
        return self.state / "engine_weights.json"

    @property
    def violation(self) -> Path:
        """Holds the id of the run in which the drill wants a violation."""
        return self.state / "violation"

    @property
    def scratch_units(self) -> Path:
        return self._at("run/systemd/system")


@dataclass(frozen=True)
class Settings:
    """The settings of a host. Times in s; ``limits`` are checked by the judge, whose they are."""

    engine_unit: str = "quantum-ai_engine.service"
    environment: t.Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    connection: t.Mapping[str, t.Any] = field(default_factory=dict)
    stream: str = "quantum:stream:trade.intent"
    match: t.Mapping[str, str] = field(default_factory=dict)
    aliases: t.Mapping[str, str] = field(default_factory=dict)
    ignore_models: t.Sequence[str] = ("fallback",)
    limits: t.Mapping[str, float] = field(default_factory=dict)
    min_events: int = 200
    window_events: int = 2000
    stale_after: float | None = None
    max_wait: float | None = None
    policy: str = "strict"
    vote: str = "confidence_weighted"
    inconclusive: str = "rollback"
    max_duration_s: float = 86400.0
    interval_s: float = 30.0
    duration_s: float = 21600.0
    hold_s: float = 86400.0
    arming_timeout_s: float = 300.0
    stability_s: float = 10.0
    required_checks: float = 0.95
    accept_unproven: bool = False
    baseline_path: str = ""
    weights_field: str = ""
    on_reboot: str = "rollback"
    baseline_drift: str = "restore"
    page_after: int = 8
    breaker_rollbacks: int = 3
    breaker_window_s: float = 86400.0
    steps: t.Sequence[float] = (0.10, 0.25, 0.50, 1.00)
    approvals: t.Sequence[float] = ()
    freeze_windows: t.Sequence[t.Mapping[str, t.Any]] = ()
    rollback_to: str = "baseline"
    pre_restart: str = ""
    post_restart: str = ""
    reload_command: str = ""
    hook_timeout_s: float = 30.0
    own_checks: bool = False
    check_timeout_s: float = 5.0
    model_artifacts: t.Sequence[str] = ()
    exposure_budget: float = 0.0

    @classmethod
    def from_dict(cls, raw: t.Any) -> Settings:
        """Check and take settings. Raises BadInput naming the option, the value and the remedy."""
        if not isinstance(raw, dict):
            raise BadInput(f"settings={raw!r:.80} is not a dictionary", remedy="Give the settings of a host.")
        known = {item.name for item in fields(cls)}
        unknown = sorted(str(key) for key in raw if key not in known)
        if unknown:
            raise BadInput(f"settings: unknown option {unknown[0]!r}", remedy=f"Known are: {', '.join(sorted(known))}.")
        settings = cls(**{key: _checked(key, value) for key, value in raw.items()})
        unit_missing = sorted(set(ENVIRONMENT) - set(settings.environment))
        if unit_missing:
            raise BadInput(
                f"environment lacks the name of the variable for {unit_missing[0]!r}",
                remedy="Name all of weights, model, traffic and ack.",
            )
        if settings.inconclusive == "extend" and not settings.max_duration_s > settings.duration_s:
            raise BadInput(
                f"max_duration_s={settings.max_duration_s:g} is not above duration_s={settings.duration_s:g}: "
                "an inconclusive run could not be extended",
                remedy="Give a longer one (qsc_canary_max_monitor_hours), or inconclusive: rollback or hold.",
            )
        for share in settings.approvals:
            if not any(same_share(share, step) for step in settings.steps):
                raise BadInput(
                    f"approvals={list(settings.approvals)!r:.80}: {share:g} is none of the steps",
                    remedy=f"Use some of steps={list(settings.steps)!r:.80} (qsc_canary_approvals, qsc_canary_steps).",
                )
        if len(set(settings.environment.values())) != len(ENVIRONMENT):
            raise BadInput(
                f"environment={dict(settings.environment)!r} gives one name twice", remedy="Give four names."
            )
        return settings

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the settings of this host. Raises BadInput when there are none."""
        try:
            return cls.from_dict(read_json(path))
        except FileNotFoundError:
            raise BadInput(f"{path} does not exist", remedy="Install the agent: playbooks/install.yml") from None

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return asdict(self)

    def judging(self) -> dict[str, t.Any]:
        """What the judge of a run is told; frozen in the record when a run is armed."""
        names = ("stream", "match", "aliases", "ignore_models", "limits", "min_events", "window_events")
        extra = ("stale_after", "max_wait", "weights_field", "policy", "vote", "exposure_budget")
        data = self.to_dict()
        return {name: data[name] for name in names + extra}


def model_name(value: t.Any, option: str = "model") -> str:
    """A model's name: it reaches a unit file, a path and a terminal, so only plain characters pass."""
    if not isinstance(value, str) or not MODEL_NAME.fullmatch(value):
        raise BadInput(
            f"{option}={value!r:.80} is not a model's name",
            remedy="Use letters, digits, '_', '.', ':' or '-', at most 64 of them, beginning with a letter or digit.",
        )
    return value


def _checked(key: str, value: t.Any) -> t.Any:
    if key in _NUMBERS:
        low, high, unit = _NUMBERS[key]
        return _number(key, value, low, high, unit)
    if key in _COUNTS:
        low_count, high_count = _COUNTS[key]
        number = _number(key, value, low_count, high_count, _UNIT_OF.get(key, "decisions"))
        if number != int(number):
            raise BadInput(f"{key}={value!r} is not a whole number", remedy=f"Use {int(number)}.")
        return int(number)
    if key in ("stale_after", "max_wait"):
        if value in (None, "auto", ""):
            return None
        return _number(key, value, 1, 7 * 86400, "s (or: auto)")
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise BadInput(f"{key}={value!r:.80} is not a choice", remedy=f"Use {' or '.join(_CHOICES[key])}.")
        return value
    if key in ("accept_unproven", "own_checks"):
        if not isinstance(value, bool):
            raise BadInput(f"{key}={value!r} is not true or false", remedy="Use true or false.")
        return value
    if key in ("match", "aliases", "environment"):
        return _texts(key, value)
    if key == "steps" or (key == "approvals" and value not in ([], ())):
        return _shares(key, value)
    if key == "approvals":
        return []
    if key == "freeze_windows":
        return checked_windows(value)
    if key == "limits":
        if not isinstance(value, dict):
            raise BadInput(f"limits={value!r:.80} is not a dictionary", remedy="Give {name: number}.")
        return dict(value)
    if key == "connection":
        return _connection(value)
    if key == "model_artifacts":
        return _artifacts(value)
    if key == "ignore_models":
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise BadInput(f"ignore_models={value!r:.80} is not a list of names", remedy="Give a list of names.")
        return list(value)
    if not isinstance(value, str) or "\n" in value or "\0" in value:
        raise BadInput(f"{key}={value!r:.80} is not a line of text", remedy="Give one line of text.")
    if key == "engine_unit" and not _UNIT_NAME.fullmatch(value):
        raise BadInput(
            f"engine_unit={value!r:.80} is not the name of a service unit", remedy="Use for example engine.service."
        )
    if key == "stream" and not value:
        raise BadInput("stream='' is empty", remedy="Name the Redis stream of the decisions.")
    if key in COMMANDS:
        _command(key, value)
    if key == "baseline_path" and value and not value.startswith("/"):
        raise BadInput(f"baseline_path={value!r:.80} is not absolute", remedy="Give a path that begins with '/'.")
    return value


COMMANDS = ("pre_restart", "post_restart", "reload_command")
"""Commands of the operator, run by systemd without a shell; "" is none."""


def _command(key: str, value: str) -> None:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise BadInput(f"{key}={value!r:.80} is not a command: {error}", remedy="Close its quotes.") from None
    if words and not words[0].startswith("/"):
        raise BadInput(
            f"{key}={value!r:.80} does not begin with an absolute path",
            remedy="Give the program's path, as /usr/local/bin/pause_entries --all. There is no shell.",
        )


MOST_BUDGET = 1e12
"""USD: the largest exposure budget."""
_NUMBERS = {
    "hook_timeout_s": (1.0, 600.0, "s"),
    "check_timeout_s": (0.1, 600.0, "s"),
    "interval_s": (0.5, 3600.0, "s"),
    "duration_s": (1.0, 30 * 86400.0, "s"),
    "max_duration_s": (1.0, 60 * 86400.0, "s"),
    "hold_s": (0.0, 365 * 86400.0, "s"),
    "arming_timeout_s": (5.0, 3600.0, "s"),
    "stability_s": (0.0, 600.0, "s"),
    "required_checks": (0.5, 1.0, "(a share)"),
    "breaker_window_s": (1.0, 365 * 86400.0, "s"),
    "exposure_budget": (0.0, MOST_BUDGET, "USD (0: none)"),
}
_COUNTS = {
    "min_events": (1, 1_000_000),
    "window_events": (1, 10_000),
    "page_after": (1, 1000),
    "breaker_rollbacks": (0, 1000),
}
_UNIT_OF = {"page_after": "tries", "breaker_rollbacks": "rollbacks (0: never)"}
_CHOICES = {
    "policy": ("strict", "sequential"),
    "vote": ("confidence_weighted", "weight_only"),
    "inconclusive": ("rollback", "hold", "extend"),
    "on_reboot": ("rollback", "resume"),
    "baseline_drift": ("restore", "keep", "refuse"),
    "rollback_to": ("baseline", "previous_step"),
}


def _number(key: str, value: t.Any, low: float, high: float, unit: str) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # NaN fails here, and so does an integer no float can hold
        raise BadInput(f"{key}={value!r:.80} is out of range", remedy=f"Use a number from {low:g} to {high:g} {unit}.")
    return float(value)


def same_share(one: float, other: float) -> bool:
    """Whether two shares of the ensemble are one: to half a millionth, as weights are written."""
    return abs(one - other) <= 0.5e-6


def _shares(key: str, value: t.Any) -> list[float]:
    """The shares a canary is raised to, one after the other, or those of them that need an approval."""
    good = isinstance(value, (list, tuple)) and bool(value)
    numbers = [] if not good else [item for item in value if isinstance(item, (int, float)) and item is not True]
    if (
        not good
        or len(numbers) != len(value)
        or not all(1e-6 <= item <= 1 for item in numbers)  # NaN fails here
        or any(after - before < 1e-6 for before, after in zip(numbers, numbers[1:]))
    ):
        raise BadInput(
            f"{key}={value!r:.80} are not shares of the ensemble in ascending order",
            remedy=f"Use numbers above 0 and up to 1 (qsc_canary_{key}), as [0.10, 0.25, 0.50, 1.00].",
        )
    return [float(item) for item in numbers]


def _artifacts(value: t.Any) -> list[str]:
    """The files a model is loaded from."""
    if not isinstance(value, (list, tuple)) or len(value) > MOST_ARTIFACTS:
        raise BadInput(
            f"model_artifacts={value!r:.80} is not a list of at most {MOST_ARTIFACTS} paths",
            remedy="Name the files the model is loaded from (qsc_canary_model_artifacts).",
        )
    for path in value:
        if not isinstance(path, str) or not path.startswith("/") or not path.isprintable() or len(path) > 4096:
            raise BadInput(
                f"model_artifacts={value!r:.80}: {path!r:.80} is not an absolute path",
                remedy="Give paths that begin with '/'.",
            )
        if path.startswith(("/tmp/", "/var/tmp/")):
            raise BadInput(
                f"model_artifacts={value!r:.80}: {path!r:.80} is where the guards see nothing: their /tmp is their own",
                remedy="Keep the model's files elsewhere.",
            )
    return list(value)


MOST_ARTIFACTS = 32


def _texts(key: str, value: t.Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise BadInput(f"{key}={value!r:.80} is not a dictionary", remedy="Give {name: text}.")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise BadInput(f"{key}[{name!r}]={text!r:.80} is not text", remedy="Give {name: text}.")
        if key == "environment" and (name not in ENVIRONMENT or not _VARIABLE.fullmatch(text)):
            raise BadInput(
                f"environment[{name!r}]={text!r:.80} is not the name of a variable",
                remedy="Give names of variables for weights, model, traffic and ack.",
            )
    return dict(value)


def _connection(value: t.Any) -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise BadInput(f"connection={value!r:.80} is not a dictionary", remedy="Give the connection options.")
    for name in value:
        if name not in CONNECTION_KEYS:
            raise BadInput(
                f"connection: unknown option {str(name)!r:.80}", remedy=f"Known are: {', '.join(CONNECTION_KEYS)}."
            )
    return dict(value)
