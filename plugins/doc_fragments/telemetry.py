# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where the decisions are and how they are read. Must be kept in sync with plugins/module_utils/_redis.py."""

    # The stream alone.
    DOCUMENTATION = r"""
options:
  stream:
    description: The key of the Redis stream that holds the engine's decisions.
    type: str
    default: "quantum:stream:trade.intent"
  match:
    description:
      - Entry fields and the values they must have, to select the decisions of one engine on a shared stream. For
        example the field C(source) and the name of the host.
      - An entry for which one of them does not hold is not looked at.
    type: dict
    default: {}
"""

    # How models are named, and the limits they are held against.
    JUDGING = r"""
options:
  aliases:
    description:
      - Names of models in the telemetry, and the names they are to be known by, for example C(xgboost) and C(xgb).
      - Nothing is guessed - a name without an alias is a model of its own.
    type: dict
    default: {}
  ignore_models:
    description: Names in the telemetry that are no models, do not vote and are only counted.
    type: list
    elements: str
    default: [fallback]
  limits:
    description: Limits that differ from their defaults. Shares, agreement and coverage are in percent.
    type: dict
    default: {}
    suboptions:
      max_action_share:
        description: The largest share of one action, C(action_collapse). The default is 70.
        type: float
      max_hold_share:
        description: The largest share of HOLD, C(dead_zone). The default is 85.
        type: float
      min_std:
        description: The smallest standard deviation of the confidence, C(flat_predictions). The default is 0.05.
        type: float
      min_range:
        description: The smallest distance of the 10th and 90th percentile, C(narrow_range). The default is 0.12.
        type: float
      constant_std:
        description: A smaller standard deviation is C(constant_output). The default is 0.01.
        type: float
      constant_range:
        description: A smaller distance of the percentiles is C(constant_output). The default is 0.001.
        type: float
      min_agreement:
        description: The lower end of the band of C(agreement_out_of_range). The default is 55.
        type: float
      max_agreement:
        description: The upper end of that band. The default is 80.
        type: float
      max_hard_disagree:
        description: The largest share of decisions with both a BUY and a SELL vote, C(hard_disagree). The default is 20.
        type: float
      min_coverage:
        description: The smallest share of decisions the canary votes in, C(canary_missing). The default is 80.
        type: float
      max_fallback_share:
        description: The largest share of decisions from a fallback source, C(not_really_running). The default is 20.
        type: float
      early_trip_share:
        description: Before there are enough decisions, a larger share of one action is a violation. The default is 97.
        type: float
      early_trip_std:
        description: Before there are enough decisions, a smaller standard deviation is a violation. The default is 0.01.
        type: float
      early_trip_events:
        description: Votes from which on the two early limits hold. The default is 30.
        type: float
      early_trip_seconds:
        description: Seconds those votes must span. The default is 600.
        type: float
      start_grace:
        description: Seconds after a start in which a missing canary or silence is not held against it. The default is 120.
        type: float
      flip_share_max:
        description:
          - The largest share of the decisions in which the ensemble's action is not the one it takes at the baseline's
            weights, C(flip_share), as a fraction.
          - The default, 1, is no limit. Another one needs the weights of the baseline.
        type: float
  vote:
    description:
      - How the engine makes one action of the votes, for what the canary's weight changes in it.
      - With V(confidence_weighted) the action with the largest sum of weight times confidence, with V(weight_only) the
        one with the largest sum of weights. A tie is HOLD.
    type: str
    choices: [confidence_weighted, weight_only]
    default: confidence_weighted
"""
