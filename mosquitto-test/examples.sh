#!/bin/bash
# Installs what the example APIs need, as their READMEs say, and schemathesis, which checks their
# answers against docs/openapi.yaml. What is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "examples: $*" >&2; }

# What npm leaves behind when it is done is newer than what it was asked for, until that changes.
by_npm() { # FOLDER
  [[ $1/node_modules/.package-lock.json -nt $1/package-lock.json ]] && return
  say "installing what $1 needs"
  npm ci --prefix "$1" --no-audit --no-fund --loglevel=error >/dev/null
}

by_pip() { # FOLDER REQUIREMENTS
  cmp --silent "$2" "$1/installed" && return
  say "installing what $2 names"
  python3 -m venv --clear "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
  cp "$2" "$1/installed"
}

by_npm examples/express
by_npm examples/node-red
by_pip examples/fastapi/.venv examples/fastapi/requirements.txt
by_pip examples/jwt/.venv examples/jwt/requirements.txt
by_pip .examples/schemathesis mosquitto-test/openapi/requirements.txt
# Into the folder of the tests, which run it from there.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} \
  cargo build --quiet --locked --manifest-path examples/axum/Cargo.toml
