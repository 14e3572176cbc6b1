#!/usr/bin/env bash
# Installs the dadnet-loso of this checkout into ~/.dadnet/venv, with the versions of
# constraints.txt. gpu.yaml and onprem.yaml run it on every node; a second call does nothing.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
venv=$HOME/.dadnet/venv
wanted=$(cat "$project/constraints.txt" "$project/pyproject.toml" | sha256sum)

if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  "${DADNET_PYTHON:-python3}" -m venv "$venv"
  # torch first, with its exact version, so that no other package installs another build of it.
  torch=$(grep '^torch==' "$project/constraints.txt")
  "$venv/bin/python" -m pip install --quiet -c "$project/constraints.txt" "$torch"
  "$venv/bin/python" -m pip install --quiet -c "$project/constraints.txt" -e "$project"
  echo "$wanted" >"$venv/installed"
fi

# `ray submit` runs `python` in a login shell, so PATH must find this one.
line='export PATH="$HOME/.dadnet/venv/bin:$PATH"  # dadnet-loso'
if ! grep -qsxF "$line" "$HOME/.bashrc"; then
  echo "$line" >>"$HOME/.bashrc"
fi

# A holder of the token can run any code here, so only its owner may read it.
if [ -f "$HOME/.ray/auth_token" ]; then
  chmod 600 "$HOME/.ray/auth_token"
fi
