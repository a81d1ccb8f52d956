#!/bin/sh
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Installs both engines on a test host, from the folder this script lies in. The second one stays stopped.
set -eu
here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")

launcher() {
  cat > "$top/$1" <<PYTHON
#!/usr/bin/python3
"""Starts the program below this folder."""
from engine.$2 import main

raise SystemExit(main())
PYTHON
  chmod 0755 "$top/$1"
}
launcher quantum-ai-engine quantum
launcher orbit-ensemble orbit
launcher qsc-test-engine tool
ln -sf "$top/qsc-test-engine" /usr/local/bin/qsc-test-engine

for user in quantum orbit; do
  useradd --system --no-create-home --shell /usr/sbin/nologin "$user"
done
mkdir -p /etc/quantum /srv/orbit
echo '{"xgb": 0.25, "lgbm": 0.25, "nhits": 0.30, "patchtst": 0.20}' > /etc/quantum/model_weights.json
echo '{"xgb": 0.30, "lgbm": 0.20, "nhits": 0.20, "patchtst": 0.20, "tft": 0.10}' > /srv/orbit/weights.json
cp "$here/units/quantum-ai_engine.service" "$here/units/orbit-ensemble.service" /etc/systemd/system/
chmod 0644 /etc/systemd/system/quantum-ai_engine.service /etc/systemd/system/orbit-ensemble.service
systemctl enable quantum-ai_engine.service
python3 -m compileall -q "$here"
