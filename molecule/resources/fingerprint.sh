#!/bin/sh
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Everything that a canary changes on a host: the engine's process and unit, its weights, files of the collection.
set -eu
unit=quantum-ai_engine.service
systemctl show "$unit" --property=MainPID,InvocationID,NRestarts,DropInPaths,UnitFileState
sha256sum /etc/quantum/model_weights.json
find /etc /usr/local /var/lib /var/log /run -xdev -path '*qsc*canary*' -o -path '*qsc-*.service' -o -path '*qsc-*.timer' |
  grep -v qsc-test- | sort || true
find /etc/systemd/system -type f -exec sha256sum {} + | sort
getent passwd qsc-canary || echo 'no user qsc-canary'
