# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for the API of AWX on loopback: enough for the awx.awx modules to make, find, change, link.

It is NOT AWX and says so in its headers. It keeps what it is given, answers secrets with ``$encrypted$``, checks
surveys by AWX's own rules, and refuses a job template whose playbook an AWX project would not list.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

ENCRYPTED = "$encrypted$"
PREFIX = "/api/v2/"
Item = dict[str, t.Any]

TYPES: t.Mapping[str, str] = {
    "organizations": "organization",
    "credential_types": "credential_type",
    "credentials": "credential",
    "execution_environments": "execution_environment",
    "notification_templates": "notification_template",
    "projects": "project",
    "inventories": "inventory",
    "inventory_sources": "inventory_source",
    "job_templates": "job_template",
    "workflow_job_templates": "workflow_job_template",
    "workflow_job_template_nodes": "workflow_job_template_node",
    "workflow_approval_templates": "workflow_approval_template",
    "schedules": "schedule",
    "project_updates": "project_update",
}
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")
"""What a node or a schedule may run."""
NOTIFYING = ("notification_templates_started", "notification_templates_success", "notification_templates_error")
LINKS: t.Mapping[str, t.Sequence[str]] = {
    "job_templates": ("credentials", "labels", "instance_groups", *NOTIFYING),
    "workflow_job_templates": ("labels", *NOTIFYING, "notification_templates_approvals"),
    "workflow_job_template_nodes": ("success_nodes", "failure_nodes", "always_nodes", "credentials", "labels"),
    "organizations": ("galaxy_credentials", "instance_groups", *NOTIFYING, "notification_templates_approvals"),
    "projects": NOTIFYING,
    "inventories": ("instance_groups",),
    "inventory_sources": NOTIFYING,
    "schedules": ("credentials", "labels", "instance_groups"),
}
"""What a thing can be linked with."""
SURVEY_TYPES: t.Mapping[str, tuple[type, ...]] = {
    "text": (str,), "textarea": (str,), "password": (str,), "multiplechoice": (str,), "multiselect": (str,),
    "integer": (int,), "float": (float, int),
}  # fmt: skip


class Refused(Exception):
    """A request that AWX would answer with 400."""


def survey_problem(spec: t.Mapping[str, t.Any]) -> str:
    """What AWX has against a survey, empty when nothing. Its rules: types of fields, defaults and limits."""
    for field, kind in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(spec.get(field), kind):
            return f"'{field}' is missing from the survey, or is no {kind.__name__}"
    seen = set()
    for question in spec["spec"]:
        name = question.get("variable")
        for field, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
            if not isinstance(question.get(field), kind):
                return f"'{field}' of question {name} is missing, or is no {kind.__name__}"
        if name in seen:
            return f"variable {name} is asked for twice"
        seen.add(name)
        if question["type"] not in SURVEY_TYPES:
            return f"question {name} has the type {question['type']}"
        default = question.get("default", "")
        if default != "" and not isinstance(default, SURVEY_TYPES[question["type"]]):
            return f"the default of question {name} is no {question['type']}"
        for limit in ("min", "max"):
            if question.get(limit) is not None and not isinstance(question[limit], int):
                return f"{limit} of question {name} is no integer"
        if question["type"].startswith("multi") and default not in ["", *question.get("choices", [])]:
            return f"the default of question {name} is none of its choices"
    return "" if spec["spec"] else "the survey asks nothing"


class Store:
    """All things by their place, {id: thing}."""

    def __init__(self, playbooks: t.Sequence[str]) -> None:
        self.playbooks = playbooks
        self.things: dict[str, dict[int, Item]] = {name: {} for name in TYPES}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[tuple[str, int], Item] = {}
        self.writes: list[str] = []
        self._next = 1
        # what is there in an empty AWX
        self.add("credential_types", {"name": "Machine", "kind": "ssh", "managed": True})
        self.writes.clear()

    def add(self, place: str, fields: Item) -> Item:
        """Make a thing."""
        self._check(place, fields)
        number, self._next = self._next, self._next + 1
        url = f"{PREFIX}{place}/{number}/"
        thing = {
            **DEFAULTS.get(place, {}), **_typed(fields), "id": number, "type": TYPES[place], "url": url,
            "related": {"survey_spec": f"{url}survey_spec/"}, "summary_fields": {},
        }  # fmt: skip
        if place == "projects":
            update = self.add("project_updates", {"name": "an update", "status": "successful"})
            thing["summary_fields"] = {"current_update": {"id": update["id"]}}
        self.things[place][number] = thing
        self.writes.append(f"POST {place}: {thing.get('name', thing.get('identifier'))}")
        return thing

    def change(self, place: str, number: int, fields: Item) -> Item:
        """Change a thing."""
        thing = self.things[place][number]
        self._check(place, {**thing, **fields})
        kept = _typed(fields)
        if place == "credentials" and "inputs" in fields:
            old = thing.get("inputs", {})
            inputs = {name: old.get(name) if value == ENCRYPTED else value for name, value in fields["inputs"].items()}
            kept = {**kept, "inputs": inputs}
        thing.update(kept)
        self.writes.append(f"PATCH {place}: {thing.get('name', thing.get('identifier'))}")
        return thing

    def _check(self, place: str, fields: t.Mapping[str, t.Any]) -> None:
        if place == "job_templates" and fields["playbook"] not in self.playbooks:
            raise Refused(f"Playbook not found for project: {fields['playbook']}")
        if place == "schedules" and not re.match(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=", fields["rrule"]):
            raise Refused(f"no valid rrule: {fields['rrule']}")
        if place == "credential_types":
            for name in fields.get("injectors", {}).get("env", {}):
                if not re.fullmatch(r"[A-Za-z_]\w*", name):
                    raise Refused(f"{name} is no name of an environment variable")

    def shown(self, place: str, thing: Item) -> Item:
        """A thing as the API shows it: secrets are not."""
        shown = copy.deepcopy(thing)
        secret = set()
        if place == "credentials":
            kind = self.things["credential_types"][thing["credential_type"]]
            fields = kind.get("inputs", {}).get("fields", [])
            secret = {field["id"] for field in fields if field.get("secret")} | {"ssh_key_data", "password"}
            values = shown.get("inputs", {})
        elif place == "notification_templates":
            secret, values = {"password"}, shown.get("notification_configuration", {})
        for name in secret:
            if values.get(name):
                values[name] = ENCRYPTED
        return shown

    def found(self, place: str, query: t.Mapping[str, str]) -> list[Item]:
        """The things that match a query."""
        places = UNIFIED if place == "unified_job_templates" else (place,)
        wanted = {name: value for name, value in query.items() if name not in ("page_size", "page", "order_by")}
        found = []
        for each in places:
            for thing in self.things[each].values():
                if all(str(thing.get(name)) == value for name, value in wanted.items()):
                    found.append(self.shown(each, thing))
        return found

    def linked(self, place: str, number: int, kind: str) -> list[Item]:
        """The things another one is linked with."""
        return [{"id": other} for other in self.links.get((place, number, kind), [])]

    def by_name(self, place: str) -> dict[str, Item]:
        """{name: thing} for the tests."""
        return {str(thing.get("name", thing.get("identifier"))): thing for thing in self.things[place].values()}


def _typed(fields: t.Mapping[str, t.Any]) -> Item:
    """A number stays a number and is one afterwards, whatever was sent, as in AWX."""
    return {name: int(value) if name == "timeout" else value for name, value in fields.items()}


DEFAULTS: t.Mapping[str, Item] = {
    "projects": {"scm_revision": ""},
    "inventories": {"kind": "", "host_filter": None},
    "workflow_job_template_nodes": {"all_parents_must_converge": False},
}


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""

    def _answer(self, status: int, body: t.Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.send_header("X-Stand-In", "not AWX, a stand-in for tests")
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.headers.get("Authorization") != "Bearer test-token":
            self._answer(401, {"detail": "no valid token"})
            return
        address = urlsplit(self.path)
        words = address.path[len(PREFIX) :].strip("/").split("/")
        try:
            self._route(words, dict(parse_qsl(address.query)), body)
        except Refused as error:
            self._answer(400, {"__all__": [str(error)], "error": str(error)})
        except KeyError as error:
            self._answer(404, {"detail": f"not found: {error} in {self.path}"})

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - the names are the library's

    def _route(self, words: t.Sequence[str], query: t.Mapping[str, str], body: Item) -> None:
        store, place = self.store, words[0]
        if len(words) == 1 and self.command == "GET":
            results = store.found(place, query)
            self._answer(200, {"count": len(results), "results": results, "next": None})
        elif len(words) == 1:
            self._answer(201, store.shown(place, store.add(place, body)))
        elif len(words) == 2 and self.command == "GET":
            self._answer(200, store.shown(place, store.things[place][int(words[1])]))
        elif len(words) == 2:
            self._answer(200, store.shown(place, store.change(place, int(words[1]), body)))
        else:
            self._part(place, int(words[1]), words[2], body)

    def _part(self, place: str, number: int, part: str, body: Item) -> None:
        store, owner = self.store, self.store.things[place][number]
        if part == "survey_spec":
            if self.command == "POST":
                problem = survey_problem(body)
                if problem:
                    raise Refused(problem)
                store.surveys[place, number] = body
                store.writes.append(f"POST survey of {owner['name']}")
            self._answer(200, store.surveys.get((place, number), {}))
        elif part == "create_approval_template":
            made = store.add("workflow_approval_templates", body)
            owner["unified_job_template"] = made["id"]
            owner["related"]["unified_job_template"] = made["url"]
            self._answer(201, made)
        elif part not in LINKS.get(place, ()):
            raise KeyError(part)
        elif self.command == "GET":
            results = store.linked(place, number, part)
            self._answer(200, {"count": len(results), "results": results, "next": None})
        else:
            linked = store.links.setdefault((place, number, part), [])
            if body.get("disassociate"):
                linked.remove(body["id"])
            else:
                linked.append(body["id"])
            store.writes.append(f"POST {part} of {owner.get('name', owner.get('identifier'))}")
            self._answer(204)


class StandIn:
    """The server; use it as a context manager."""

    def __init__(self, playbooks: t.Sequence[str]) -> None:
        self.store = Store(playbooks)
        handler = type("Handler", (_Handler,), {"store": self.store})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
