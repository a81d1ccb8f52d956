# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running engine is told: the control file (read again whenever it changes) and the faults (read at start)."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# Modes about the stream itself.
LATE = ("silent", "vanished", "wrong_type", "truncation")
LATE_AFTER_S = 10.0

CONTROL: dict[str, Any] = {
    "mode": "healthy",
    "when": "always",  # the mode holds always | canary: only under a canary's environment | baseline: only without
    "after": None,  # seconds after the engine's start from which on the mode holds; None: as the mode needs it
    "canary": "patchtst",  # the model that the mode makes ill
    "rate": 20.0,  # decisions a second
    "burst": 6,  # decisions at a time
    "maxlen": 10000,
    "publish_weights": False,  # put the weights in use into the payload field ensemble_weights
    "source": "",  # the entry field source; empty: the engine's own name
    "pulse": None,  # {"id": text, "count": n}: so many decisions at once, once
    "replay_file": "",  # for the mode replay: lines {"ms": n, "fields": {..}}
    # Read at start only:
    "seed": 1,
    "redis": "",  # a redis:// or unix:// address; empty: the engine's own
    "stream": "",  # empty: the engine's own
}

FAULTS: dict[str, Any] = {
    "ignore_environment": False,  # as the original engine: runs its own weights and says nothing
    "die_with_canary": False,  # ends at start when a canary's environment is there
    "die_after": None,  # ends so many seconds after its start ...
    "die_when": "always",  # ... always | canary
    "die_times": None,  # ... at most so often (counted in the engine's state folder)
    "die_status": 1,  # ... with this exit status; a negative one is a signal
    "start_delay": 0.0,  # seconds before it reads its weights
    "silent_for": 0.0,  # seconds before its first decision
    "ack": "",  # none | wrong_sha256 | wrong_pid | garbage
    "publish_own_weights": False,  # publishes its configured weights whatever it runs
    "ignore_sigterm": False,
}


def write_atomic(path: Path, text: str) -> None:
    """Write by a temporary file in the same folder and a rename; readable by everybody."""
    handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
        os.replace(name, str(path))
    except BaseException:
        os.unlink(name)
        raise


def read(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Return a file's orders over the defaults; no file is no order. An unknown key is an error: tests mistype."""
    try:
        given = json.loads(path.read_text())
    except FileNotFoundError:
        given = {}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return {**known, **given}


class Control:
    """The control file, looked at before every round."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.orders = dict(CONTROL)

    def changed(self) -> bool:
        """Read the file if it is not the one read before; True when the orders may be new."""
        try:
            found = os.stat(str(self._path))
            mark = (found.st_mtime_ns, found.st_ino, found.st_size)
        except FileNotFoundError:
            mark = (0, 0, 0)
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            self.orders = read(self._path, CONTROL)
        except ValueError as error:
            print(f"control file not understood, going on as before: {error}", file=sys.stderr, flush=True)
            return False
        return True

    def mode(self, is_canary: bool, up_s: float) -> str:
        """Return the mode that holds for an engine, up for ``up_s``, with or without a canary's environment."""
        when, mode, after = self.orders["when"], str(self.orders["mode"]), self.orders["after"]
        if when != "always" and (when == "canary") != is_canary:
            return "healthy"
        if after is None:
            # An activation is proven by decisions: an engine that is mute from its start on is never watched at all.
            after = LATE_AFTER_S if mode in LATE and is_canary else 0.0
        return mode if up_s >= after else "healthy"
