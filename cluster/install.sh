#!/usr/bin/env bash
# Installs dadnet-loso, as it lies beside this file, into ~/.dadnet/venv: exactly the versions of
# constraints.txt. Run on every node by gpu.yaml and onprem.yaml; a second time it does nothing.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
venv=$HOME/.dadnet/venv
wanted=$(cat "$project/constraints.txt" "$project/pyproject.toml" | sha256sum)

if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  "${DADNET_PYTHON:-python3}" -m venv "$venv"
  # torch first and by its exact version, so that no other package pulls in another build of it.
  torch=$(grep '^torch==' "$project/constraints.txt")
  "$venv/bin/python" -m pip install --quiet -c "$project/constraints.txt" "$torch"
  "$venv/bin/python" -m pip install --quiet -c "$project/constraints.txt" -e "$project"
  echo "$wanted" >"$venv/installed"
fi

# `ray submit` runs `python` in a login shell, so it has to be this one.
line='export PATH="$HOME/.dadnet/venv/bin:$PATH"  # dadnet-loso'
if ! grep -qsxF "$line" "$HOME/.bashrc"; then
  echo "$line" >>"$HOME/.bashrc"
fi

# Whoever has the token can run any code here: it is nobody else's to read.
if [ -f "$HOME/.ray/auth_token" ]; then
  chmod 600 "$HOME/.ray/auth_token"
fi
