# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Glue between Ansible and the core: errors turned into a module's failure, in one place."""

from __future__ import annotations

import importlib.util
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .qsc.errors import QscError


def has_library(name: str) -> bool:
    """Whether this Python has a library, without the time its import takes; a folder left of one has no origin."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def run_module(module: AnsibleModule, action: t.Callable[[AnsibleModule], dict[str, t.Any]]) -> t.NoReturn:
    """Run one core call and leave: its result, or its error as one clear sentence."""
    try:
        result = action(module)
    except QscError as error:
        module.fail_json(msg=str(error), reason=error.message, remedy=error.remedy, error=type(error).__name__)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'the host'}: {error.strerror or error}", error="OSError")
    module.exit_json(**result)
