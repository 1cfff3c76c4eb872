# What test.sh and images.sh share: a Docker engine of their own, and stand-ins for base images. It is sourced, not run.
# shellcheck shell=bash
CACHE=${DOCKER_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mosquitto-http-auth-docker}
COMPOSE=$CACHE/docker-compose
IMAGE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock 9 # two engines cannot share the folder: the second run waits

step() { echo "[docker +${SECONDS}s] $*"; }
die() { step "$*" >&2; exit 1; }

# Another apt on this machine may hold the lock, or change the lists under ours.
apt_get() {
  local try
  for try in 1 2 3; do
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >"$CACHE/apt.log" 2>&1 && return
    sleep "$try"
  done
  tail -n 20 "$CACHE/apt.log" >&2
  return 1
}

install_tools() {
  local missing=()
  [ -x /usr/sbin/dockerd ] || missing+=(docker.io)
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  ((${#missing[@]})) || return 0
  apt_get update
  apt_get install -y --no-install-recommends "${missing[@]}"
  step "installed ${missing[*]}"
}

# The archive that this machine's own apt is set up to use.
mirror() {
  # shellcheck disable=SC2016 # apt's own placeholder
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n '1{s|/$||;p}'
}

# Debian 12 has the first docker-compose only, written in Python. Debian 13's is a Go program that runs here too: it is
# taken out of its package, and nothing is installed.
fetch_compose() {
  [ ! -x "$COMPOSE" ] || return 0
  local dir=$CACHE/apt
  rm -rf "$dir" && mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) trixie main" >"$dir/sources.list"
  local options=(
    -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache"
    -o APT::Sandbox::User=root -o Acquire::Languages=none
  )
  apt_get "${options[@]}" update
  (cd "$dir" && apt_get "${options[@]}" download docker-compose)
  dpkg-deb -x "$dir"/docker-compose_*.deb "$dir/root"
  mv "$dir/root/usr/libexec/docker/cli-plugins/docker-compose" "$COMPOSE"
  rm -rf "$dir"
  step "unpacked docker-compose"
}

# A private engine: its own socket, state and, for what it mounts, its own mount namespace. Nothing of it outlives the run.
start_engine() {
  RUN=$(mktemp -d /tmp/docker-test.XXXXXX) # a short name: a socket's path ends at 107 bytes
  export DOCKER_HOST=unix://$RUN/docker.sock DOCKER_CONFIG=$RUN DOCKER_BUILDKIT=1
  trap stop_engine EXIT
  trap 'exit 130' INT TERM
  echo '{}' >"$RUN/daemon.json"
  unshare --mount dockerd --config-file "$RUN/daemon.json" --host "$DOCKER_HOST" \
    --data-root "$CACHE/data" --exec-root "$RUN/exec" --pidfile "$RUN/pid" \
    --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
    --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$(basename "$RUN")" \
    --default-ulimit nofile=1024:1024 \
    >"$CACHE/dockerd.log" 2>&1 9>&- &
  ENGINE=$!
  local _
  for _ in {1..120}; do
    if docker info >/dev/null 2>&1; then step "engine is up"; return; fi
    kill -0 "$ENGINE" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 10 "$CACHE/dockerd.log" >&2
  die "the engine did not start"
}

stop_engine() {
  kill "$ENGINE" 2>/dev/null || true
  wait "$ENGINE" 2>/dev/null || true
  find /sys/fs/cgroup -depth -type d -path "*/$(basename "$RUN")*" -exec rmdir {} + 2>/dev/null || true
  rm -rf "$RUN"
}

# Debian's client has BuildKit built in; another one first in the PATH may need a plugin for it.
docker() { /usr/bin/docker "$@"; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# make_debian SUITE [ARCHITECTURE PLATFORM IMAGE]: debian:SUITE-slim, with the essential packages and apt. A frozen archive's Release
# file may have run out; its signature counts.
make_debian() {
  local image=${4:-debian:$1-slim}
  mmdebstrap --quiet --variant=minbase --architectures="${2:-$(dpkg --print-architecture)}" --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$1" - "$(mirror)" 2>"$CACHE/mmdebstrap.log" \
    | docker import --change 'CMD ["bash"]' --change "ENV PATH=$IMAGE_PATH" ${3:+--platform "$3"} - "$image" >/dev/null \
    || { tail -n 20 "$CACHE/mmdebstrap.log" >&2; die "cannot make $image"; }
  step "made $image"
}
