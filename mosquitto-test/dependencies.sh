#!/bin/bash
# Checks what the plugin and its tests are built from, as deny.toml says: licences, sources, bans;
# and known vulnerabilities, if the database (RustSec's, on github.com) can be reached. Where it cannot,
# ADVISORY_DB may name a git repository with a copy of it. Not part of the ordinary tests, since
# cargo-deny takes minutes to install; run it when Cargo.lock changes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null; then
  echo "dependencies.sh: installing cargo-deny, which takes some minutes" >&2
  cargo install --locked cargo-deny
fi
cargo deny --log-level error check bans licenses sources
database=https://github.com/RustSec/advisory-db
if [[ -n ${ADVISORY_DB:-} ]]; then
  copy=file://$(realpath "$ADVISORY_DB")
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.$copy.insteadOf GIT_CONFIG_VALUE_0=$database
  echo "dependencies.sh: vulnerabilities that were known on $(git ls-remote --quiet "$database" HEAD |
    cut -f 1 | xargs git -C "$ADVISORY_DB" log -1 --format=%cs)" >&2
fi
if timeout 30 git ls-remote --quiet "$database" HEAD >/dev/null 2>&1; then
  cargo deny --log-level error check advisories
else
  echo "dependencies.sh: known vulnerabilities were NOT looked for: the database cannot be reached" >&2
fi
