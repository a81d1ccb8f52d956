# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach Redis. Must be kept in sync with plugins/module_utils/_redis.py."""

    DOCUMENTATION = r"""
options:
  login_host:
    description: The host of the Redis server, as seen from the host the module runs on.
    type: str
    default: localhost
  login_port:
    description: The TCP port of the Redis server.
    type: int
    default: 6379
  login_user:
    description: The ACL user to log in as. Needs no more than C(+xinfo|stream +xrevrange +xread +time) on the stream.
    type: str
  login_password:
    description: The password of the user.
    type: str
  login_unix_socket:
    description: The path of the server's unix socket; takes the place of O(login_host) and O(login_port).
    type: path
  db:
    description: The number of the database that holds the stream.
    type: int
    default: 0
  tls:
    description: Whether to speak TLS.
    type: bool
    default: false
  validate_certs:
    description: Whether the server's certificate must be valid for O(login_host).
    type: bool
    default: true
  ca_certs:
    description: The file of the authorities to trust, in PEM form; without it, those of the system.
    type: path
  client_cert_file:
    description: The file of the client's own certificate, in PEM form.
    type: path
  client_key_file:
    description: The file of the key to O(client_cert_file), in PEM form.
    type: path
  timeout_s:
    description:
      - How many seconds a single operation on the connection may take.
      - A server that accepts connections and never answers is noticed by this.
    type: float
    default: 5.0
requirements:
  - redis (Python package, 3.5 or later; C(python3-redis) on Debian, Ubuntu and Fedora)
"""
