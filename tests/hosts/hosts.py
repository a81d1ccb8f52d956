#!/usr/bin/env python3
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make, use and remove real systemd hosts for the tests; ``--help`` lists the commands."""

from __future__ import annotations

import argparse
import os
import sys
import time

import qsc_hosts
from qsc_hosts import HostsError
from qsc_hosts.fleet import names
from qsc_hosts.image import SUITE, say, tag
from qsc_hosts.owner import ancestor
from qsc_hosts.setup import environment


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hosts.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    add("check", "say what this machine lacks (exit 1) or that all is there")
    one = add("build", "build the image unless it exists")
    one.add_argument("--force", action="store_true", help="build again, from the packages on")
    one = add("up", "start hosts and wait until they have booted")
    one.add_argument("name", nargs="+")
    one.add_argument("--count", type=int, help="start NAME-1 to NAME-count instead of NAME")
    one.add_argument("--replace", action="store_true", help="remove hosts of these names first")
    one.add_argument(
        "--owner",
        metavar="PROGRAM",
        help="the hosts belong to the ancestor process PROGRAM: once it is gone the next `up` may take their names",
    )
    one = add("down", "remove hosts; those that are not there are no error")
    one.add_argument("name", nargs="*")
    one.add_argument("--all", action="store_true", help="all hosts of this checkout")
    one = add("ssh", "log in, or run a command, by ssh")
    one.add_argument("--user", default="root", help="root or deploy (who has sudo)")
    one.add_argument("name")
    one.add_argument("words", nargs=argparse.REMAINDER)
    one = add("exec", "run a command as root through podman (works without sshd)")
    one.add_argument("name")
    one.add_argument("words", nargs=argparse.REMAINDER)
    one = add("reboot", "reboot hosts in order and wait")
    one.add_argument("name", nargs="+")
    one = add("power-cut", "kill all processes of hosts, boot them again and wait")
    one.add_argument("name", nargs="+")
    add("list", "list running hosts: name, ssh port")
    one = add("inventory", "print an Ansible inventory with the group qsc_engines")
    one.add_argument("name", nargs="*", help="only these hosts")
    one.add_argument("--user", default="root")
    add("clean", "remove this checkout's hosts, files and the images that nobody uses")
    for each in commands.choices.values():
        each.add_argument("--suite", default=SUITE, help=argparse.SUPPRESS)
    return parser


def _chosen(arguments: argparse.Namespace) -> list[str]:
    return [name for given in arguments.name for name in names(given, getattr(arguments, "count", None))]


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if command == "check":
        lacking = qsc_hosts.missing()
        print("\n".join(lacking) or "all is there")
        return 1 if lacking else 0
    if command == "build":
        qsc_hosts.build(arguments.suite, force=arguments.force)
        print(tag(arguments.suite))
    elif command == "up":
        started = time.monotonic()
        mark = ancestor(arguments.owner) if arguments.owner else ""
        hosts = qsc_hosts.up(_chosen(arguments), replace=arguments.replace, mark=mark, suite=arguments.suite)
        for host in hosts:
            print(f"{host.name} {host.port}")
        say(f"{len(hosts)} host(s) up in {time.monotonic() - started:.1f} s")
    elif command == "down":
        if not arguments.name and not arguments.all:
            raise HostsError("name the hosts to remove, or say --all")
        for name in qsc_hosts.down(None if arguments.all else arguments.name):
            print(name)
    elif command == "ssh":
        os.execvp("ssh", [*qsc_hosts.get(arguments.name).ssh_command(arguments.user), *arguments.words])
    elif command == "exec":
        terminal = ["-it"] if sys.stdin.isatty() and sys.stdout.isatty() else ["-i"]
        words = arguments.words or ["bash"]
        container = qsc_hosts.get(arguments.name).container
        os.execvpe("podman", ["podman", "exec", *terminal, container, *words], environment())
    elif command == "reboot":
        for name in arguments.name:
            qsc_hosts.get(name).reboot()
    elif command == "power-cut":
        for name in arguments.name:
            qsc_hosts.get(name).power_cut()
    elif command == "list":
        for host in qsc_hosts.existing():
            print(f"{host.name} {host.port}")
    elif command == "inventory":
        chosen = [qsc_hosts.get(name) for name in arguments.name] or qsc_hosts.existing()
        sys.stdout.write(qsc_hosts.inventory(chosen, user=arguments.user))
    elif command == "clean":
        for line in qsc_hosts.clean():
            print(line)
    return 0


def main(words: list[str] | None = None) -> int:
    """Run one command; errors are one line on standard error and exit code 2."""
    try:
        return _run(_parser().parse_args(words))
    except HostsError as error:
        print(f"hosts.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
