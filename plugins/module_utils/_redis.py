# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Glue between Ansible and the judge: connection and telemetry options, the guard for the redis library.

Must be kept in sync with plugins/doc_fragments/redis.py and plugins/doc_fragments/telemetry.py.
"""

from __future__ import annotations

import sys
import typing as t
from dataclasses import fields

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ._result import has_library
from .qsc.errors import QscError
from .qsc.judge.connection import Connection
from .qsc.judge.rules import Limits
from .qsc.judge.stream import StreamReader
from .qsc.judge.vote import CONFIDENCE_WEIGHTED, VOTES
from .qsc.judge.wire import MISSING_LIBRARY_REMEDY

_CONNECTION: dict[str, dict[str, t.Any]] = {
    "login_host": {"type": "str", "default": "localhost"},
    "login_port": {"type": "int", "default": 6379},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_unix_socket": {"type": "path"},
    "db": {"type": "int", "default": 0},
    "tls": {"type": "bool", "default": False},
    "validate_certs": {"type": "bool", "default": True},
    "ca_certs": {"type": "path"},
    "client_cert_file": {"type": "path"},
    "client_key_file": {"type": "path", "no_log": False},
    "timeout_s": {"type": "float", "default": 5.0},
}


def telemetry_spec(*, judging: bool = False, **options: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The argument spec of a module that reads the stream, with its own options."""
    spec: dict[str, dict[str, t.Any]] = {
        **_CONNECTION,
        "stream": {"type": "str", "default": "quantum:stream:trade.intent"},
        "match": {"type": "dict", "default": {}},
    }
    if judging:
        spec["aliases"] = {"type": "dict", "default": {}}
        spec["ignore_models"] = {"type": "list", "elements": "str", "default": ["fallback"]}
        limits = {item.name: {"type": "float"} for item in fields(Limits)}
        spec["vote"] = {"type": "str", "choices": list(VOTES), "default": CONFIDENCE_WEIGHTED}
        spec["limits"] = {"type": "dict", "default": {}, "options": limits}
    return {**spec, **options}


def open_stream(module: AnsibleModule) -> StreamReader:
    """The stream the module's options name. Raises BadInput."""
    connection = Connection.from_dict({name: module.params[name] for name in _CONNECTION})
    return StreamReader(connection, module.params["stream"], module.params.get("match"))


def require_redis(module: AnsibleModule) -> None:
    """Leave, naming the package and the remedy, when this Python has no library to reach Redis with."""
    libraries = ("redis",) if module.params["tls"] else ("hiredis", "redis")
    if not any(has_library(name) for name in libraries):
        module.fail_json(msg=f"{missing_required_lib('redis')} {MISSING_LIBRARY_REMEDY} for {sys.executable}.")


def run_telemetry(
    module: AnsibleModule, action: t.Callable[[AnsibleModule, StreamReader], dict[str, t.Any]], **on_error: t.Any
) -> t.NoReturn:
    """Run one core call on the stream and leave: with its result, or with its error as one clear sentence and
    ``on_error``. A result whose ``failed`` is true fails the task with the result. Recorded telemetry in a file needs
    no Redis."""
    if not module.params.get("file"):
        require_redis(module)
    try:
        with open_stream(module) as reader:
            result = action(module, reader)
    except QscError as error:
        facts = {"reason": error.message, "remedy": error.remedy, "error": type(error).__name__}
        module.fail_json(msg=str(error), **facts, **on_error)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'the host'}: {error.strerror or error}", error="OSError", **on_error)
    for text in result.pop("warnings", ()):
        module.warn(text)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(changed=False, **result)
