#!/bin/bash
# docker/test.sh [--pull] [SUITE…]    builds the images and proves them, started by compose
#
# A SUITE is a Debian that the images run on: bookworm, trixie or sid (Mosquitto 2.0.11, 2.0.21, 2.1), or fleet: three
# brokers behind HAProxy, as in fleet.yaml. Default: all four.
# On each, the services become healthy, the broker runs as an unprivileged user, docker/check.sh finds that it decides as
# it should, Prometheus finds that counted, and a broker that hangs is seen to be unhealthy. The broker's image has the
# command, labels, and a volume with what it keeps; promtool runs the tests of the alerts. The fleet's brokers know what one
# of them has asked, are told the clients' own addresses, and take in again one that was killed.
# Needs root on Debian 12 and its package archive, nothing else: the Docker engine is Debian's, started for this run alone,
# without bridge, firewall rules or forwarding. The base images are stand-ins made from Debian's packages and this
# machine's Rust, under the names that the Dockerfile uses; --pull takes the real ones from their registry instead.
# What was made is kept in DOCKER_TEST_CACHE (some 3 GB), so that the next run is quick.
set -euo pipefail
cd "$(dirname "$0")/.."

PULL=no
if [ "${1:-}" = --pull ]; then PULL=yes; shift; fi
SUITES=("$@")
((${#SUITES[@]})) || SUITES=(bookworm trixie sid fleet)
BUILD_SUITE=bookworm # the oldest: what is built there runs on the newer ones

# shellcheck source=docker/engine.sh
. docker/engine.sh

# rust:1-SUITE: Debian, a C compiler and this machine's Rust. This machine's own certificate authorities come along, for
# cargo's downloads; the image is a build stage, so none of them ends up in what is built.
make_rust() {
  local certificates=/usr/local/share/ca-certificates sysroot
  sysroot=$(rustc --print sysroot) || die "no rustc here to make rust:1-$1 from: try --pull"
  docker rm --force make-rust >/dev/null 2>&1 || true
  docker run --name make-rust --network host --volume "$sysroot:/rust:ro" --volume "$certificates:/certificates:ro" \
    "debian:$1-slim" sh -ec '
      apt-get -q update
      DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends ca-certificates gcc libc6-dev
      rm -rf /var/lib/apt/lists/*
      find /certificates -name "*.crt" -exec cp {} /usr/local/share/ca-certificates/ ";"
      update-ca-certificates
      mkdir -p /usr/local/cargo
      cp -a /rust/bin /usr/local/cargo/
      cp -a /rust/lib /usr/local/cargo/' >"$CACHE/make-rust.log" 2>&1 \
    || { tail -n 20 "$CACHE/make-rust.log" >&2; die "cannot make rust:1-$1"; }
  docker commit --change 'CMD ["bash"]' --change 'ENV CARGO_HOME=/usr/local/cargo' \
    --change "ENV PATH=/usr/local/cargo/bin:$IMAGE_PATH" make-rust "rust:1-$1" >/dev/null
  docker rm make-rust >/dev/null
  step "made rust:1-$1"
}

# Those that the images are made from.
debians() {
  local suite
  for suite in "${SUITES[@]}"; do
    if [ "$suite" = fleet ]; then echo trixie sid; else echo "$suite"; fi
  done
}

base_images() {
  local suite
  if [ "$PULL" = yes ]; then
    docker pull --quiet "rust:1-$BUILD_SUITE"
    for suite in $(debians); do docker pull --quiet "debian:$suite-slim"; done
    step "pulled the base images"
    return
  fi
  for suite in "$BUILD_SUITE" $(debians); do
    have_image "debian:$suite-slim" || make_debian "$suite"
  done
  have_image "rust:1-$BUILD_SUITE" || make_rust "$BUILD_SUITE"
}

FILES=compose
compose() {
  "$COMPOSE" --ansi never --file "docker/$FILES.yaml" --file "docker/$FILES.ci.yaml" --profile check "$@"
}

build() { # SUITE SERVICE…
  local suite=$1 image
  shift
  export BASE_IMAGE=debian:$suite-slim
  compose --progress plain build "$@" >"$CACHE/build.log" 2>&1 \
    || { tail -n 60 "$CACHE/build.log" >&2; die "the build failed"; }
  docker image prune --force >/dev/null
  for image in $(compose config --images "$@" | sort -u); do
    step "built $image on $suite: $(docker image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B"
  done
}

inspect() { docker inspect --format "$2" "$(compose ps --quiet "$1")"; } # SERVICE TEMPLATE

# The first process of a service, as this machine's kernel knows it: its user is 0 only if it is root here.
expect_unprivileged() { # SERVICE
  local pid user
  pid=$(inspect "$1" '{{.State.Pid}}')
  user=$(awk '$1 == "Uid:" { print $2, $3, $4, $5 }' "/proc/$pid/status")
  case " $user " in '  ' | *' 0 '*) step "$1 runs as root, or not at all"; return 1 ;; esac
  step "$1 runs as user ${user%% *}"
}

# The clients that were let in a moment ago must be counted, and Prometheus must have heard of it.
expect_metrics() {
  local query='sum(mosquitto_http_auth_questions_total{kind="login",decision="allowed"}) > 0' said _
  for _ in {1..30}; do
    said=$(compose exec --no-TTY prometheus promtool query instant http://127.0.0.1:9090 "$query")
    [ -z "$said" ] || break
    sleep 1
  done
  [ -n "$said" ] || { step "Prometheus has no count of logins"; return 1; }
  step "Prometheus counts logins: $said"
}

# The image tells what it is and what it keeps, and has the command.
expect_image() {
  local said label='{{index .Config.Labels "org.opencontainers.image.'
  said=$(docker image inspect --format "$label"'title"}} '"$label"'licenses"}} {{json .Config.Volumes}} {{.Config.User}}' \
    mosquitto-http-auth)
  [ "$said" = 'mosquitto-http-auth (MIT OR Apache-2.0) AND (EPL-2.0 OR BSD-3-Clause) {"/var/lib/mosquitto":{}} mosquitto' ] \
    || { step "the image says of itself: $said"; return 1; }
  said=$(compose exec --no-TTY broker mosquitto-http-auth check /etc/mosquitto/mosquitto.conf) \
    || { step "the command in the image finds fault: $said"; return 1; }
  step "the image has its labels, a volume and the command: ${said##*$'\n'}"
}

# What is retained is there after the container was replaced by another.
expect_persistence() {
  local said
  compose exec --no-TTY broker mosquitto_pub -u root -P toor -t kept -m "still here" -r -q 1 || return 1
  compose --progress quiet up --no-build --pull never --detach --wait --no-deps --force-recreate broker || return 1
  said=$(compose exec --no-TTY broker mosquitto_sub -u root -P toor -t kept -C 1 -W 30)
  [ "$said" = "still here" ] || { step "a retained message is lost: '$said'"; return 1; }
  step "a retained message outlives the container"
}

# The alerts fire when they should, and say what they should.
expect_alerts() {
  compose --progress quiet run --rm --no-deps --volume "$PWD:/repository:ro" --entrypoint promtool prometheus \
    test rules /repository/mosquitto-test/metrics/alerts-test.yaml || return 1
  step "promtool finds the alerts as they should be"
}

# A health check that cannot fail is none: a broker that is stopped in its tracks answers nobody.
expect_unhealthy_when_hung() {
  local pid state _
  pid=$(inspect broker '{{.State.Pid}}')
  kill -STOP "$pid"
  for _ in {1..60}; do
    state=$(inspect broker '{{.State.Health.Status}}')
    [ "$state" = healthy ] || break
    sleep 1
  done
  kill -CONT "$pid"
  [ "$state" = unhealthy ] || { step "a broker that hangs is $state"; return 1; }
  step "a broker that hangs is unhealthy"
}

# compose waits until every service is healthy, and fails when one is not.
check() {
  local result=0
  # sed drops the escape that is meant for a terminal's status line.
  {
    compose --progress quiet up --no-build --pull never --detach --wait broker api prometheus \
      && step "$(inspect broker '{{.State.Health.Status}}'): $(compose exec --no-TTY broker mosquitto -h 2>/dev/null | head -n 1)" \
      && expect_unprivileged broker && expect_unprivileged api && expect_unprivileged prometheus \
      && compose --progress quiet run --rm --no-deps check && expect_metrics && expect_image && expect_persistence \
      && expect_alerts && expect_unhealthy_when_hung
  } 2>&1 | sed $'s/^\e\\[2K//' || result=$?
  if [ "$result" -ne 0 ]; then compose logs --tail 200 api broker prometheus; fi
  compose --progress quiet down --timeout 2 --volumes
  return "$result"
}

# How many logins of alice the API was asked about.
logins_asked() { compose logs --no-log-prefix api | grep -c '/user .*"username":"alice"'; }

fleet_status() { compose exec --no-TTY b1 mosquitto-http-auth fleet status /tmp/b1/mosquitto.conf; }

# A broker that is killed and started again is one of three as before, and lets alice in without a request.
expect_return_after_kill() {
  local asked status _
  compose --progress quiet run --rm --no-deps check sh /fleet/known.sh || return 1
  compose --progress quiet kill b2 || return 1
  compose --progress quiet up --no-build --pull never --detach --wait b2 || return 1
  for _ in {1..30}; do
    status=$(fleet_status)
    [ "$(grep -c 'up to date' <<<"$status")" -ne 3 ] || break
    sleep 1
  done
  [ "$(grep -c 'up to date' <<<"$status")" -eq 3 ] || { step "not three brokers: $status"; return 1; }
  asked=$(logins_asked)
  compose --progress quiet run --rm --no-deps check sh /fleet/known.sh || return 1
  [ "$(logins_asked)" -eq "$asked" ] \
    || { step "the API was asked about alice again"; return 1; }
  step "a broker that was killed is one of three again, and asks nothing that is known"
}

# The check's clients came from an address of their own.
expect_own_addresses() {
  [ "$(compose logs --no-log-prefix api | grep -c '"peerhost":"127.0.0.9"')" -gt 0 ] \
    || { step "the API was told another address than the client's"; return 1; }
  step "the API is told the clients' own addresses"
}

check_fleet() {
  local result=0 service
  {
    compose --progress quiet up --no-build --pull never --detach --wait b1 b2 b3 haproxy prometheus \
      && for service in b1 b2 b3 valkey haproxy api; do expect_unprivileged "$service" || exit 1; done \
      && compose --progress quiet run --rm --no-deps --env CLIENT_ADDRESS=127.0.0.9 check \
      && expect_own_addresses \
      && expect_return_after_kill && expect_members
  } 2>&1 | sed $'s/^\e\\[2K//' || result=$?
  if [ "$result" -ne 0 ]; then compose logs --tail 100; fi
  compose --progress quiet down --timeout 2 --volumes
  return "$result"
}

# Prometheus has heard from each of three brokers that there are three.
expect_members() {
  local said _
  for _ in {1..30}; do
    said=$(compose exec --no-TTY prometheus promtool query instant http://127.0.0.1:9090 \
      'count(mosquitto_http_auth_fleet_members == 3) == 3')
    [ -z "$said" ] || break
    sleep 1
  done
  [ -n "$said" ] || { step "Prometheus does not count three brokers"; return 1; }
  step "Prometheus hears of three brokers from each: $said"
}

install_tools
fetch_compose
start_engine
base_images
for suite in "${SUITES[@]}"; do
  if [ "$suite" = fleet ]; then
    FILES=fleet
    build sid keys valkey api haproxy prometheus
    check_fleet || die "the check failed on $suite"
  else
    FILES=compose
    build "$suite" broker api prometheus
    check || die "the check failed on $suite"
  fi
  step "the check passed on $suite"
done
