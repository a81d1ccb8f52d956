# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The canary's record: one table state x event -> state, a lease, and a latch. Pure but for load and save.

The record is the only authority on what the host is doing. Every change is a compare-and-set on (owner, generation):
who lost the lease learns it instead of undoing what the host did meanwhile.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from .errors import LeaseLost, RecordUnreadable, Refused
from .files import read_json, write_json
from .settings import ENVIRONMENT

SCHEMA = 1

ARMING, ACTIVE, ROLLING_BACK, ROLLED_BACK = "arming", "active", "rolling_back", "rolled_back"
PROMOTING, PROMOTED = "promoting", "promoted"
STATES = (ARMING, ACTIVE, ROLLING_BACK, ROLLED_BACK, PROMOTING, PROMOTED)
LIVE = (ARMING, ACTIVE, PROMOTING)
"""States in which the engine may run canary weights."""
OUTCOMES = ("", "safe", "violated", "inconclusive", "terminated")

TABLE: t.Mapping[tuple[str, str], str] = {
    ("", "arm"): ARMING,
    (ROLLED_BACK, "arm"): ARMING,
    (PROMOTED, "arm"): ARMING,
    (ARMING, "activate"): ACTIVE,
    (ACTIVE, "reprove"): ACTIVE,
    (ACTIVE, "resume"): ACTIVE,
    (ACTIVE, "drift"): ACTIVE,
    (ACTIVE, "conclude_safe"): ACTIVE,
    (ACTIVE, "conclude_inconclusive"): ACTIVE,
    (ACTIVE, "extend"): ACTIVE,
    (ACTIVE, "raise"): ARMING,
    (ACTIVE, "promote"): PROMOTING,
    (PROMOTING, "promoted"): PROMOTED,
    (ARMING, "roll_back"): ROLLING_BACK,
    (ACTIVE, "roll_back"): ROLLING_BACK,
    (PROMOTING, "roll_back"): ROLLING_BACK,
    (ROLLING_BACK, "roll_back"): ROLLING_BACK,
    (ROLLING_BACK, "proven"): ROLLED_BACK,
}
"""state x event -> state. What is not here is refused: nothing else decides."""


@dataclass(frozen=True)
class Record:
    """One run of one canary. Times ``*_at`` are wall s, ``*_boot`` are s of boot time of ``boot_id``.

    ``watched_boot``: since when the run is watched in this boot; ``resuming``: after a reboot, until the engine is
    proven again; ``drift``: SHA-256 of what the engine's weights file became, or ``removed``, ``unreadable``;
    ``raised_from``, ``raised_weight``: the run of the step before, and its share; ``promoted``: the weights that become
    the engine's own; ``delivery``: how the engine got the weights, ``restart`` or ``reload``; ``rollback_to``: where a
    violation of a raised run leads, and ``stepped_back_from``: the run that led here so; ``own_checks``: the names of
    the operator's required checks, and ``check_timeout_s``: s that they have (0: none is run); ``artifacts``: the files
    of the model as they were before the engine loaded them.
    """

    id: str
    state: str
    owner: str
    generation: int
    model: str
    weight: float
    weights: t.Mapping[str, float]
    baseline: t.Mapping[str, float]
    engine_unit: str
    environment: t.Mapping[str, str]
    boot_id: str
    armed_at: float
    armed_boot: float
    arming_deadline_boot: float
    interval_s: float
    duration_s: float
    hold_s: float
    required_checks: float
    stability_s: float
    min_events: int
    accept_unproven: bool = False
    judging: t.Mapping[str, t.Any] = field(default_factory=dict)
    gate: t.Mapping[str, t.Any] = field(default_factory=dict)
    baseline_path: str = ""
    baseline_digest: str = ""
    dropin_digest: str = ""
    engine_before: t.Mapping[str, t.Any] = field(default_factory=dict)
    since: t.Mapping[str, t.Any] = field(default_factory=dict)
    activated_at: float = 0.0
    activated_boot: float = 0.0
    engine: t.Mapping[str, t.Any] = field(default_factory=dict)
    effective: str = ""
    outcome: str = ""
    concluded_at: float = 0.0
    concluded_boot: float = 0.0
    trigger: str = ""
    reason: str = ""
    violations: t.Sequence[t.Mapping[str, t.Any]] = ()
    violated_at: float = 0.0
    judged: t.Mapping[str, t.Any] = field(default_factory=dict)
    rolled_back_at: float = 0.0
    proof: t.Mapping[str, t.Any] = field(default_factory=dict)
    acknowledged: str = ""
    on_reboot: str = "rollback"
    resumed: int = 0
    resuming: bool = False
    watched_boot: float = 0.0
    baseline_drift: str = "restore"
    drift: str = ""
    inconclusive: str = "rollback"
    max_duration_s: float = 0.0
    extended: bool = False
    raised_from: str = ""
    raised_weight: float = 0.0
    promoted: t.Mapping[str, float] = field(default_factory=dict)
    promoted_at: float = 0.0
    delivery: str = "restart"
    rollback_to: str = "baseline"
    step_back: str = ""
    stepped_back_from: str = ""
    own_checks: t.Sequence[str] = ()
    check_timeout_s: float = 0.0
    artifacts: t.Sequence[t.Mapping[str, t.Any]] = ()

    @property
    def live(self) -> bool:
        """True while the engine may run canary weights."""
        return self.state in LIVE

    @property
    def in_flight(self) -> bool:
        """True until the run has ended at a proven baseline or was promoted."""
        return self.state in (*LIVE, ROLLING_BACK)

    @property
    def deadline_s(self) -> float:
        """s of the run after which it must have been concluded: of an extended one, the longest it may be."""
        return self.max_duration_s if self.extended else self.duration_s

    @property
    def ends_at(self) -> float:
        """Wall s at which the present state ends by itself, 0 when it does not."""
        if self.state == ARMING:
            return self.armed_at + self.arming_deadline_boot - self.armed_boot
        if self.state != ACTIVE:
            return 0.0
        return self.concluded_at + self.hold_s if self.held else self.activated_at + self.deadline_s

    @property
    def held(self) -> bool:
        """True while the canary stays after its run was concluded, until somebody decides: never promoted when that
        was inconclusive."""
        return self.state == ACTIVE and self.outcome in ("safe", "inconclusive")

    @property
    def latched(self) -> bool:
        """True once a violation was recorded: nothing but a proven baseline ends this run."""
        return bool(self.violations) or self.outcome == "violated"

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {"schema": SCHEMA, **asdict(self)}


def transition(record: Record, event: str, **changes: t.Any) -> Record:
    """The record after ``event``, with ``changes`` to its fields; raises Refused where the table has no entry.

    A latched run can only go towards baseline, whatever the table says; a conclusion is final; only a safe run goes on
    to more weight.
    """
    state = TABLE.get((record.state, event))
    if record.held and event in ("conclude_safe", "conclude_inconclusive", "extend"):
        state = None
    if event in ("raise", "promote") and record.outcome != "safe":
        state = None
    if state is None or (record.latched and event not in ("roll_back", "proven")):
        latch = ", violated" if record.latched else ""
        raise Refused(
            f"canary {record.id} is {record.state}{latch}: it cannot {event.replace('_', ' ')}",
            remedy="See it with: qsc status",
        )
    if event == "roll_back" and record.latched:
        for name in ("violations", "violated_at", "trigger", "reason", "outcome", "judged"):
            changes.pop(name, None)  # the first violation is the one that counts
        changes.pop("judged", None)
    return replace(record, state=state, generation=record.generation + 1, **changes)


def drift_text(drift: str) -> str:
    """What became of the engine's weights file during the run, for a sentence."""
    return {"removed": "was removed", "unreadable": "cannot be read any more"}.get(drift, "was changed")


def check_lease(record: Record | None, *, canary_id: str, owner: str, generation: int) -> Record:
    """The record if the caller still holds it; raises LeaseLost naming what the host did meanwhile."""
    if record is None:
        raise LeaseLost(f"canary {canary_id}: the record is gone", remedy="Activate again after: qsc status")
    if (record.id, record.owner, record.generation) != (canary_id, owner, generation):
        why = f" ({record.trigger}: {record.reason})" if record.trigger else ""
        raise LeaseLost(
            f"canary {canary_id}: the host has moved on; it is now {record.state}{why}",
            remedy="The host answers for its baseline; see it with: qsc status",
        )
    return record


def parse(raw: t.Any) -> Record:
    """Take a record from JSON data. Raises RecordUnreadable for anything this version did not write."""
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise RecordUnreadable(f"the record has schema {found!r:.40}, not {SCHEMA}", remedy="Run: qsc rollback")
    known = {item.name: item for item in fields(Record)}
    values = {key: value for key, value in raw.items() if key in known}
    sample = _SAMPLE
    for key, value in values.items():
        wanted = getattr(sample, key)
        if not _same_kind(wanted, value):
            raise RecordUnreadable(f"the record's {key} is {value!r:.60}", remedy="Run: qsc rollback")
    try:
        record = Record(**values)
    except TypeError as error:
        raise RecordUnreadable(f"the record is not complete: {error}", remedy="Run: qsc rollback") from error
    if record.state not in STATES or record.outcome not in OUTCOMES or not record.id:
        raise RecordUnreadable(f"the record's state is {record.state!r:.40}", remedy="Run: qsc rollback")
    wrong = _wrong_within(record)
    if wrong:
        raise RecordUnreadable(f"the record's {wrong} is not usable", remedy="Run: qsc rollback")
    return record


def _wrong_within(record: Record) -> str:
    """The nested value a rollback would stumble over, "" when there is none.

    Without names of variables any process would prove the baseline; a violation without text would stop the ledger.
    """
    if set(record.environment) != set(ENVIRONMENT) or not all(_named(name) for name in record.environment.values()):
        return "environment"
    for name in ("weights", "baseline", "promoted"):
        if not all(_same_kind(0.0, value) for value in getattr(record, name).values()):
            return name
    for item in record.artifacts:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("path", "sha256")):
            return "artifacts"
        if not isinstance(item.get("seen"), list) or len(item["seen"]) != 5:
            return "artifacts"
    if not all(isinstance(name, str) for name in record.own_checks):
        return "own_checks"
    for item in record.violations:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("code", "message")):
            return "violations"
    return ""


def _named(name: t.Any) -> bool:
    return isinstance(name, str) and bool(name)


_MOST = 1e18
"""Every time and count of ours is far below; JSON reads 1e999 as infinite."""


def _same_kind(wanted: t.Any, value: t.Any) -> bool:
    if isinstance(wanted, bool):
        return isinstance(value, bool)
    if isinstance(wanted, (int, float)):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST
    if isinstance(wanted, str):
        return isinstance(value, str)
    if isinstance(wanted, dict):
        return isinstance(value, dict)
    return isinstance(value, (list, tuple))


_SAMPLE = Record(
    id="x", state=ARMING, owner="", generation=1, model="", weight=0.1, weights={}, baseline={}, engine_unit="",
    environment={}, boot_id="", armed_at=0.0, armed_boot=0.0, arming_deadline_boot=0.0, interval_s=30.0,
    duration_s=0.0, hold_s=0.0, required_checks=0.95, stability_s=0.0, min_events=200,
)  # fmt: skip


_OF_A_RUN = (
    "since", "dropin_digest", "activated_at", "activated_boot", "watched_boot", "engine", "effective", "proof",
    "outcome", "concluded_at", "concluded_boot", "extended", "resumed", "resuming", "trigger", "reason", "violations",
    "violated_at", "judged", "rolled_back_at", "promoted", "promoted_at", "delivery", "rollback_to", "step_back",
)  # fmt: skip


def begun_anew(record: Record, **changes: t.Any) -> Record:
    """Another run that begins as this one began, with ``changes``: what a run does and comes to is as at its beginning,
    all else is kept, so that no setting of its judges and guards is lost."""
    return replace(record, **{**{name: getattr(_SAMPLE, name) for name in _OF_A_RUN}, **changes})


def load(path: Path) -> Record | None:
    """The record of this host, or None when no canary ever ran. Raises RecordUnreadable."""
    try:
        return parse(read_json(path))
    except FileNotFoundError:
        return None


def save(path: Path, record: Record) -> None:
    """Write the record, atomically and durably. The caller holds the lock."""
    write_json(path, record.to_dict())
