# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of awx/, and what is asked of it: fields of the modules, surveys of the role, playbooks that AWX lists."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path, PurePosixPath

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
Item = dict[str, t.Any]

MODULES: t.Mapping[str, str] = {
    "aap_organizations": "organization",
    "controller_credential_types": "credential_type",
    "controller_execution_environments": "execution_environment",
    "controller_credentials": "credential",
    "controller_notifications": "notification_template",
    "controller_projects": "project",
    "controller_inventories": "inventory",
    "controller_inventory_sources": "inventory_source",
    "controller_templates": "job_template",
    "controller_workflows": "workflow_job_template",
    "controller_schedules": "schedule",
}
"""{list of the data: the module of awx.awx that takes its items}."""
NODES = "simplified_workflow_nodes"
"""A workflow's nodes stand with it; another module takes them."""


class _Loader(yaml.SafeLoader):
    """Reads a text marked !unsafe as the text it is."""


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load(root: Path = ROOT) -> dict[str, t.Any]:
    """All variables of awx/data, as written: nothing is templated."""
    found: dict[str, t.Any] = {}
    for path in sorted((root / "awx/data").glob("*.yml")):
        found.update(yaml.load(path.read_text(), _Loader))
    return found


def listed_by_awx(files: t.Iterable[str], root: Path = ROOT) -> list[str]:
    """The files that an AWX project offers as playbooks. AWX parses no YAML: one line as below is enough."""
    line = re.compile(r"\s*-?\s*(hosts|(ansible\.builtin\.)?(include|import_playbook)):")
    found = []
    for name in files:
        folders = PurePosixPath(name).parts[:-1]
        if {"roles", "tasks", "group_vars", "host_vars"} & set(folders) or any(one.startswith(".") for one in folders):
            continue
        # AWX does not follow links to folders, and git lists none of the files behind them
        if name.endswith((".yml", ".yaml")) and any(map(line.match, (root / name).read_text().splitlines())):
            found.append(name)
    return sorted(found)


def field_problems(data: t.Mapping[str, t.Any], options: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    """What the modules would not take. ``options``: {module: its options, as ansible-doc tells them}."""
    found = []
    lists = dict(MODULES)
    for name, module in lists.items():
        for item in data[name]:
            fields = {field: value for field, value in item.items() if field != NODES}
            found += [f"{name}: {text}" for text in _item_problems(fields, options[module])]
            for node in item.get(NODES, []):
                found += [f"{NODES}: {text}" for text in _item_problems(node, options["workflow_job_template_node"])]
    unknown = {name for name in data if not name.startswith("_")} - set(lists)
    return found + [f"{name}: no module takes this list" for name in sorted(unknown)]


_KINDS: t.Mapping[str, tuple[type, ...]] = {
    "str": (str,), "path": (str,), "bool": (bool,), "int": (int,), "float": (int, float), "list": (list,),
    "dict": (dict,),
}  # fmt: skip


def _item_problems(item: Item, options: t.Mapping[str, t.Any]) -> list[str]:
    who = item.get("name", item.get("identifier"))
    names = {alias: name for name, option in options.items() for alias in (name, *option.get("aliases", []))}
    found = []
    for field, value in item.items():
        if field not in names:
            found.append(f"{who}: {field} is no option of the module")
            continue
        option = options[names[field]]
        templated = isinstance(value, str) and "{{" in value
        kinds = _KINDS.get(option.get("type", "str"), (object,))
        if not templated and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            found.append(f"{who}: {field} should be {option['type']}, it is {value!r}")
        elif not templated and option.get("choices") and value not in option["choices"]:
            found.append(f"{who}: {field} should be one of {option['choices']}, it is {value!r}")
    found += [f"{who}: {name} is missing" for name, option in options.items() if _lacks(item, name, option)]
    return found


def _lacks(item: Item, name: str, option: t.Mapping[str, t.Any]) -> bool:
    # where a node belongs is said by the list it stands in
    given = {*item, "workflow_job_template"}
    return bool(option.get("required")) and not given & {name, *option.get("aliases", [])}


def playbook_variables(path: Path) -> tuple[str, dict[str, str]]:
    """(entry point of the role, {short name: option}) of a playbook."""
    entry, names = "", {}
    for play in yaml.safe_load(path.read_text()):
        for option, expression in (play.get("vars") or {}).items():
            short = re.match(r"\{\{ (\w+) \| default\(", str(expression))
            if short and option.startswith("qsc_canary_"):
                names[short[1]] = option
        entry = entry or _entry_point(play.get("tasks") or [])
    return entry, names


def _entry_point(tasks: t.Sequence[Item]) -> str:
    for task in tasks:
        for action in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
            if action in task:
                return str(task[action]["tasks_from"])
        found = _entry_point(task.get("block") or [])
        if found:
            return found
    return ""


def survey_problems(
    questions: t.Sequence[Item], names: t.Mapping[str, str], options: t.Mapping[str, Item]
) -> list[str]:
    """Where a survey and the options of an entry point differ."""
    found = []
    for question in questions:
        variable = question["variable"]
        option = options.get(names.get(variable, variable))
        if option is None:
            found.append(f"{variable} is no variable of this playbook")
            continue
        found += [f"{variable}: {text}" for text in _question_problems(question, option)]
    return found


def _question_problems(question: Item, option: Item) -> t.Iterator[str]:
    kind, choices = question["type"], question.get("choices")
    wanted = {"str": "text", "bool": "multiplechoice", "int": "integer", "float": "float"}.get(option["type"], "none")
    if option.get("choices"):
        wanted = "multiplechoice"
    if kind != wanted:
        yield f"asks for {kind} where the role takes {option['type']}"
    offered = ["false", "true"] if option["type"] == "bool" else option.get("choices")
    if choices != offered:
        yield f"offers {choices} where the role takes {offered}"
    default = option.get("default")
    default = str(default).lower() if isinstance(default, bool) else default
    if "default" in question and (question["default"] != default or type(question["default"]) is not type(default)):
        yield f"has the default {question['default']!r} where the role has {default!r}"
    # AWX sends an empty text for what is left blank: only a text may be, and then its default is the empty one
    if not question["required"] and (kind != "text" or question.get("default") != ""):
        yield "may be left blank, but an empty text is not what the role takes"
    if question["required"] and "default" not in question and kind != "text":
        yield "has no default"
    limits = re.search(r"above (\d+) and at most (\d+)", str(option["description"]))
    if limits and (question.get("min"), question.get("max")) != (int(limits[1]), int(limits[2])):
        yield f"takes {question.get('min')} to {question.get('max')} where the role takes {limits[0]}"
    if kind in ("integer", "float") and not {"min", "max"} <= set(question):
        yield "has no limits"


def survey_table(data: t.Mapping[str, t.Any]) -> str:
    """The questions of all templates as a Markdown table."""
    rows = ["| template | question | variable | answer | default | meaning |", "|---|---|---|---|---|---|"]
    for template in (*data["controller_templates"], *data["controller_workflows"]):
        for question in template.get("survey_spec", {}).get("spec", []):
            limits = f" {question['min']} to {question['max']}" if "min" in question else ""
            answer = ", ".join(question["choices"]) if "choices" in question else question["type"] + limits
            default = question.get("default", "")
            shown = f"`{default}`" if default != "" else ("(must be given)" if question["required"] else "(empty)")
            cells = (template["name"], question["question_name"], f"`{question['variable']}`", answer, shown)
            rows.append(f"| {' | '.join((*cells, question['question_description']))} |")
    return "\n".join(rows)
