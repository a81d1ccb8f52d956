# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What the gate and the monitor are asked to judge, checked once. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..errors import BadInput
from ..settings import MOST_BUDGET, model_name
from .cutover import StreamId
from .decisions import Dialect
from .drift import Reference
from .frame import Frame
from .impact import Change, weights_at, weights_of
from .rules import Limits, stands_alone
from .vote import CONFIDENCE_WEIGHTED, Weights, vote_named

CANARY, COLLECTION = "canary", "collection"
LEAST_EVENTS: t.Mapping[str, int] = {CANARY: 200, COLLECTION: 100}
STRICT, SEQUENTIAL = "strict", "sequential"
POLICIES = (STRICT, SEQUENTIAL)
DURATION_S = 21_600.0
_MOST_ADDED = 1 << 62


@dataclass(frozen=True)
class GateOptions:
    """What to judge. ``models`` are those the canary may be (each must be there); ``require`` names the models whose
    violations refuse (``all``: every voting one); ``weight`` is the canary's, ``baseline`` the weights before it, where
    they are known."""

    cutover: str
    mode: str = CANARY
    min_events: int = 200
    max_events: int = 0
    models: tuple[str, ...] = ()
    require: tuple[str, ...] = ("all",)
    require_ensemble: bool = True
    dialect: Dialect = field(default_factory=Dialect)
    limits: Limits = field(default_factory=Limits)
    stale_after: float | None = None
    weight: float | None = None
    policy: str = STRICT
    duration_s: float = DURATION_S
    baseline: Weights = field(default_factory=dict)
    vote: str = CONFIDENCE_WEIGHTED

    @classmethod
    def from_dict(cls, raw: t.Mapping[str, t.Any]) -> GateOptions:
        """Check and take the options of the module (None = default). Raises BadInput."""
        given = {name: value for name, value in raw.items() if value is not None}
        mode = given.get("mode", CANARY)
        if mode not in LEAST_EVENTS:
            raise BadInput(f"mode={mode!r:.80} is unknown", remedy="Use canary or collection.")
        min_events = whole("min_events", given.get("min_events", LEAST_EVENTS[mode]), 1)
        max_events = whole("max_events", given.get("max_events", 0), 0)
        if max_events and max_events < min_events:
            raise BadInput(
                f"max_events={max_events} is below min_events={min_events}: the gate could never pass",
                remedy=f"Use 0 (all) or at least {min_events}.",
            )
        weight = given.get("weight")
        return cls(
            cutover=str(given.get("cutover", "")),
            mode=mode,
            min_events=min_events,
            max_events=max_events,
            models=tuple(model_name(name, "models") for name in given.get("models", ())),
            require=tuple(given.get("require", ("all",))) or ("all",),
            require_ensemble=bool(given.get("require_ensemble", True)),
            dialect=Dialect.of(given.get("aliases"), given.get("ignore_models", ("fallback",))),
            limits=Limits.from_dict(given.get("limits")),
            stale_after=seconds("stale_after", given.get("stale_after")),
            weight=None if weight is None else number("weight", weight, 0, 1),
            policy=_policy(given),
            duration_s=_duration(given),
            baseline=weights_of("baseline", given.get("baseline")),
            vote=vote_named(given.get("vote", CONFIDENCE_WEIGHTED)),
        )


def _policy(given: t.Mapping[str, t.Any]) -> str:
    policy = given.get("policy", STRICT)
    if policy not in POLICIES:
        raise BadInput(f"policy={policy!r:.80} is unknown", remedy="Use strict or sequential.")
    return str(policy)


def _duration(given: t.Mapping[str, t.Any]) -> float:
    return number("duration_s", given.get("duration_s", DURATION_S), 1, 30 * 86_400)


def whole(option: str, value: t.Any, least: int, most: int = 10_000_000) -> int:
    """A whole number within bounds; raises BadInput."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadInput(f"{option}={value!r:.80} is out of range", remedy=f"Use a whole number from {least} to {most}.")
    return int(value)


def number(option: str, value: t.Any, low: float, high: float) -> float:
    """A number within bounds; raises BadInput."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        raise BadInput(f"{option}={value!r:.80} is out of range", remedy=f"Use a number from {low:g} to {high:g}.")
    return float(value)


@dataclass(frozen=True)
class MonitorOptions:
    """One canary under watch: decisions after ``since`` are its own. Times in s; None = ``auto``. ``frame`` and
    ``duration_s`` are for the policy ``sequential``; without a frame it is learnt at the first check. ``baseline`` and
    ``weights``: of the whole ensemble before the canary and now, empty where they are not known; ``reference``: the
    time before the cutover, to compare with; ``exposure_budget``: USD, None = none."""

    model: str
    since: StreamId
    entries_added: int | None = None
    weight: float | None = None
    min_events: int = 200
    window_events: int = 2000
    dialect: Dialect = field(default_factory=Dialect)
    limits: Limits = field(default_factory=Limits)
    stale_after: float | None = None
    max_wait: float | None = None
    policy: str = STRICT
    duration_s: float = DURATION_S
    frame: Frame | None = None
    baseline: Weights = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    vote: str = CONFIDENCE_WEIGHTED
    reference: Reference | None = None
    exposure_budget: float | None = None

    @property
    def change(self) -> Change | None:
        """What the canary's weights may change; None where they are not known."""
        return Change(self.model, self.baseline, self.weights, self.vote) if self.baseline and self.weights else None

    @property
    def alone(self) -> bool:
        """A canary with all the weight may run without others to agree with."""
        return stands_alone(self.weight)

    @classmethod
    def from_dict(cls, raw: t.Mapping[str, t.Any], *, model: str, since: StreamId) -> MonitorOptions:
        """Check and take the judging options of a record or of the module (None = default). Raises BadInput."""
        given = {name: value for name, value in raw.items() if value is not None}
        min_events = whole("min_events", given.get("min_events", 200), 1)
        window_events = whole("window_events", given.get("window_events", 2000), 1)
        if window_events < min_events:
            raise BadInput(
                f"window_events={window_events} is below min_events={min_events}: nothing could ever be judged",
                remedy=f"Use at least {min_events}.",
            )
        weight = None if given.get("weight") is None else number("weight", given["weight"], 0, 1)
        added = given.get("entries_added")
        limits = Limits.from_dict(given.get("limits"))
        baseline, weights = (weights_of(name, given.get(name)) for name in ("baseline", "weights"))
        if baseline and not weights and weight is not None:
            weights = weights_at(baseline, model, weight)
        if limits.flip_share_max < 1 and not (baseline and weights):
            raise BadInput(
                f"limits: flip_share_max={limits.flip_share_max:g} cannot be judged without the baseline's weights",
                remedy="Give baseline and weight, or leave flip_share_max out.",
            )
        budget = number("exposure_budget", given.get("exposure_budget", 0.0), 0, MOST_BUDGET) or None
        if budget is not None and not (baseline and weights):
            raise BadInput(
                f"exposure_budget={budget:g} cannot be counted without the baseline's weights",
                remedy="Give baseline and weight, or leave exposure_budget out.",
            )
        return cls(
            model=model_name(model),
            since=since,
            entries_added=None if added is None else whole("entries_added", added, 0, _MOST_ADDED),
            weight=weight,
            min_events=min_events,
            window_events=window_events,
            dialect=Dialect.of(given.get("aliases"), given.get("ignore_models", ("fallback",))),
            limits=limits,
            stale_after=seconds("stale_after", given.get("stale_after")),
            max_wait=seconds("max_wait", given.get("max_wait")),
            policy=_policy(given),
            duration_s=_duration(given),
            frame=_learnt("frame", given.get("frame"), Frame.from_dict),
            baseline=baseline,
            weights=weights,
            vote=vote_named(given.get("vote", CONFIDENCE_WEIGHTED)),
            reference=_learnt("reference", given.get("reference"), Reference.from_dict),
            exposure_budget=budget,
        )


_Learnt = t.TypeVar("_Learnt")


def _learnt(option: str, raw: t.Any, take: t.Callable[[t.Any], _Learnt]) -> _Learnt | None:
    if not raw:
        return None
    try:
        return take(raw)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadInput(
            f"{option}={raw!r:.80} is not what a gate has learnt: {error}",
            remedy="Leave it out, or ask the gate again.",
        ) from error


def seconds(option: str, value: t.Any) -> float | None:
    """A time limit in s, or None for ``auto``."""
    if value in (None, "", "auto"):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise BadInput(f"{option}={value!r:.80} is not a time", remedy="Use auto or a number of seconds.") from None
    return number(option, value, 1, 7 * 86400.0)
