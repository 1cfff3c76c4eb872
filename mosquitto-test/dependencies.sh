#!/bin/bash
# Checks what the plugin and its tests are built from, as deny.toml says: licences, sources, bans;
# and known vulnerabilities, if the database (RustSec's, on github.com) can be reached. Not part of
# the ordinary tests, since cargo-deny takes minutes to install; run it when Cargo.lock changes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null; then
  echo "dependencies.sh: installing cargo-deny, which takes some minutes" >&2
  cargo install --locked cargo-deny
fi
cargo deny --log-level error check bans licenses sources
if timeout 30 git ls-remote --quiet https://github.com/rustsec/advisory-db HEAD >/dev/null 2>&1; then
  cargo deny --log-level error check advisories
else
  echo "dependencies.sh: known vulnerabilities were NOT looked for: the database cannot be reached" >&2
fi
