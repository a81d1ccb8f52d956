# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of awx/ fits the modules, the role and the playbooks."""

from __future__ import annotations

import copy
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from awx.collection import module_options
from awx.data import (
    MODULES,
    NODES,
    Item,
    field_problems,
    listed_by_awx,
    load,
    playbook_variables,
    survey_problems,
    survey_table,
)
from awx.stand_in import survey_problem
from tools.checkout import checkout_files

LINKS = ("success_nodes", "failure_nodes", "always_nodes")
FOR_PEOPLE = (
    "activate",
    "backtest",
    "drill",
    "gate",
    "install",
    "promote",
    "rollback",
    "rollout",
    "status",
    "uninstall",
    "wait",
)


@pytest.fixture(scope="module")
def data() -> dict[str, t.Any]:
    return load()


@pytest.fixture(scope="module")
def options(clean_environment: dict[str, str]) -> dict[str, dict[str, t.Any]]:
    return module_options([*MODULES.values(), "workflow_job_template_node"], clean_environment)


@pytest.fixture(scope="module")
def entry_points(root: Path) -> dict[str, dict[str, Item]]:
    specs = yaml.safe_load((root / "roles/qsc_canary/meta/argument_specs.yml").read_text())["argument_specs"]
    return {name: spec.get("options") or {} for name, spec in specs.items()}


def surveys(data: t.Mapping[str, t.Any]) -> list[tuple[str, str, list[Item]]]:
    """(template, playbook, questions) of every job template."""
    return [
        (one["name"], one["playbook"], one.get("survey_spec", {}).get("spec", []))
        for one in data["controller_templates"]
    ]


def test_awx_lists_the_playbooks_for_people_and_no_other_file(root: Path) -> None:
    assert listed_by_awx(checkout_files(root)) == [f"playbooks/{name}.yml" for name in FOR_PEOPLE]


@pytest.mark.parametrize(
    ("name", "text", "listed"),
    [
        ("play.yml", "- hosts: all\n", True),
        ("play.yaml", "- name: x\n  hosts: all\n", True),
        ("deep/er/play.yml", "- name: x\n      hosts: all\n", True),
        ("play.yml", "- ansible.builtin.import_playbook: x.yml\n", True),
        ("play.yml", '- name: x\n  "hosts": all\n', False),
        ("play.txt", "- hosts: all\n", False),
        ("roles/r/play.yml", "- hosts: all\n", False),
        ("tasks/play.yml", "- hosts: all\n", False),
        (".hidden/play.yml", "- hosts: all\n", False),
        ("play.yml", "# hosts: all\n- all_hosts: x\n", False),
    ],
)
def test_what_awx_lists(tmp_path: Path, name: str, text: str, listed: bool) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert listed_by_awx([name], tmp_path) == ([name] if listed else [])


def test_every_job_template_has_its_playbook(root: Path, data: dict[str, t.Any]) -> None:
    missing = [playbook for _name, playbook, _survey in surveys(data) if not (root / playbook).is_file()]
    assert missing == []


def test_every_field_is_an_option_of_its_module(data: dict[str, t.Any], options: dict[str, dict[str, t.Any]]) -> None:
    assert field_problems(data, options) == []


def _misspelt(data: dict[str, t.Any]) -> None:
    data["controller_templates"][0]["survy_enabled"] = True


def _wrong_type(data: dict[str, t.Any]) -> None:
    data["controller_templates"][0]["forks"] = "many"


def _wrong_choice(data: dict[str, t.Any]) -> None:
    data["controller_templates"][0]["job_type"] = "try"


def _without(data: dict[str, t.Any]) -> None:
    del data["controller_credentials"][0]["credential_type"]


def _misspelt_list(data: dict[str, t.Any]) -> None:
    data["controller_template"] = []


def _misspelt_node(data: dict[str, t.Any]) -> None:
    data["controller_workflows"][0][NODES][1]["failed_nodes"] = ["rollback"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_misspelt, "Canary gate: survy_enabled is no option of the module"),
        (_wrong_type, "Canary gate: forks should be int, it is 'many'"),
        (_wrong_choice, "Canary gate: job_type should be one of ['run', 'check'], it is 'try'"),
        (_without, "Canary Redis: credential_type is missing"),
        (_misspelt_list, "controller_template: no module takes this list"),
        (_misspelt_node, "activate: failed_nodes is no option of the module"),
    ],
)
def test_a_mistake_in_the_data_is_found(
    data: dict[str, t.Any],
    options: dict[str, dict[str, t.Any]],
    change: t.Callable[[dict[str, t.Any]], None],
    words: str,
) -> None:
    changed = copy.deepcopy(data)
    change(changed)
    [problem] = field_problems(changed, options)
    assert words in problem


def test_surveys_ask_for_what_the_role_takes(
    root: Path, data: dict[str, t.Any], entry_points: dict[str, dict[str, Item]]
) -> None:
    problems = []
    for name, playbook, questions in surveys(data):
        entry, names = playbook_variables(root / playbook)
        problems += [f"{name}: {text}" for text in survey_problems(questions, names, entry_points[entry])]
    assert problems == []


@pytest.mark.parametrize(
    ("variable", "field", "value", "words"),
    [
        ("qsc_canary_weight", "type", "str", "weight: asks for float where the role takes str"),
        ("qsc_canary_weight", "default", 0.2, "weight: has the default 0.1 where the role has 0.2"),
        ("qsc_canary_weight", "description", "above 0 and at most 2", "weight: takes 0 to 1 where the role takes"),
        ("qsc_canary_dry_run", "type", "str", "dry_run: asks for multiplechoice where the role takes str"),
        ("qsc_canary_dry_run", "default", True, "dry_run: has the default 'false' where the role has 'true'"),
        ("qsc_canary_acknowledge", "default", "none", "acknowledge: has the default '' where the role has 'none'"),
        ("qsc_canary_cutover", "choices", ["a", "b"], "cutover: offers None where the role takes ['a', 'b']"),
    ],
)
def test_a_change_of_the_role_is_found(
    root: Path,
    data: dict[str, t.Any],
    entry_points: dict[str, dict[str, Item]],
    variable: str,
    field: str,
    value: t.Any,
    words: str,
) -> None:
    [questions] = [found for name, _playbook, found in surveys(data) if name == "Canary activate"]
    entry, names = playbook_variables(root / "playbooks/activate.yml")
    changed = copy.deepcopy(entry_points[entry])
    changed[variable][field] = value
    problems = survey_problems(questions, names, changed)
    assert [text for text in problems if text.startswith(words)], problems


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"required": False}, "may be left blank"),
        ({"max": 2}, "takes 0 to 2 where the role takes"),
        ({"variable": "wait"}, "wait is no variable of this playbook"),
    ],
)
def test_a_change_of_a_survey_is_found(
    root: Path, data: dict[str, t.Any], entry_points: dict[str, dict[str, Item]], change: Item, words: str
) -> None:
    [questions] = [found for name, _playbook, found in surveys(data) if name == "Canary activate"]
    [weight] = [question for question in questions if question["variable"] == "weight"]
    entry, names = playbook_variables(root / "playbooks/activate.yml")
    problems = survey_problems([{**weight, **change}], names, entry_points[entry])
    assert [text for text in problems if words in text], problems


def test_what_a_survey_left_blank_does_not_hide_the_inventory(root: Path, data: dict[str, t.Any]) -> None:
    """AWX may send an empty text for it: the playbook goes on to what the inventory says."""
    seen = 0
    for _name, playbook, questions in surveys(data):
        text = (root / playbook).read_text()
        for question in questions:
            if not question["required"]:
                [expression] = re.findall(rf'"{{{{ {question["variable"]} \| default\((.*)\) }}}}"', text)
                assert "hostvars" not in expression or expression.endswith(", true"), (playbook, question["variable"])
                seen += 1
    assert seen >= 8


def test_awx_takes_every_survey(data: dict[str, t.Any]) -> None:
    specs = [
        one["survey_spec"]
        for one in (*data["controller_templates"], *data["controller_workflows"])
        if "survey_spec" in one
    ]
    assert len(specs) >= 5
    assert [survey_problem(spec) for spec in specs if survey_problem(spec)] == []


def test_the_workflow_asks_what_its_nodes_ask(data: dict[str, t.Any]) -> None:
    def core(question: Item) -> Item:
        return {name: value for name, value in question.items() if not name.startswith("question")}

    templates = {one["name"]: one for one in data["controller_templates"]}
    for workflow in data["controller_workflows"]:
        names = [node["unified_job_template"] for node in workflow[NODES] if "unified_job_template" in node]
        asked = [core(one) for name in names for one in templates[name].get("survey_spec", {}).get("spec", [])]
        own = [core(one) for one in workflow["survey_spec"]["spec"]]
        assert [question for question in own if question not in asked] == []
        needed = {one["variable"] for one in asked if one["required"] and "default" not in one}
        assert needed <= {one["variable"] for one in own}


def test_whatever_fails_after_the_activation_ends_at_the_rollback(data: dict[str, t.Any]) -> None:
    [workflow] = data["controller_workflows"]
    nodes = {node["identifier"]: node for node in workflow[NODES]}
    followed = [name for node in nodes.values() for kind in LINKS for name in node.get(kind, [])]
    assert set(nodes) - set(followed) == {"gate"}
    assert set(followed) <= set(nodes)
    assert not nodes["gate"].get("failure_nodes")  # it has changed nothing
    left = set(nodes) - {"gate", "rollback"}
    assert {name: nodes[name].get("failure_nodes") for name in left} == {name: ["rollback"] for name in left}
    order = ["gate"]
    while nodes[order[-1]].get("success_nodes"):
        order += nodes[order[-1]]["success_nodes"]
    assert order == ["gate", "activate", "wait", "approve", "promote"]
    # awx/apply.yml makes them from the last one on
    place = list(nodes)
    back = [
        (name, to)
        for name in place
        for kind in LINKS
        for to in nodes[name].get(kind, [])
        if place.index(to) <= place.index(name)
    ]
    assert back == []


def test_the_credential_is_environment_that_the_role_looks_up(root: Path, data: dict[str, t.Any]) -> None:
    [kind] = data["controller_credential_types"]
    looked_up = set(
        re.findall(
            r"lookup\('ansible.builtin.env', '(\w+)'\)", (root / "roles/qsc_canary/defaults/main.yml").read_text()
        )
    )
    fields = {field["id"]: field for field in kind["inputs"]["fields"]}
    assert set(kind["injectors"]) == {"env"}, "an extra variable would stand in a file of the job"
    injected = kind["injectors"]["env"]
    assert set(injected) <= looked_up
    assert sorted(injected.values()) == sorted("{{ " + name + " }}" for name in fields)
    assert [name for name, field in fields.items() if field.get("secret")] == ["password"]


def test_no_secret_stands_in_the_data(root: Path) -> None:
    text = "".join(path.read_text() for path in (root / "awx").rglob("*.yml"))
    values = re.findall(r"^\s*(?:password|ssh_key_data|token): (.+)$", text, re.MULTILINE)
    assert len(values) >= 3
    assert [value for value in values if "lookup(" not in value and value != '""'] == []


def test_the_documentation_has_the_table_of_the_surveys(root: Path, data: dict[str, t.Any]) -> None:
    assert survey_table(data) in (root / "docs/awx.md").read_text(), "\n" + survey_table(data)
