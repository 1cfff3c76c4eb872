#!/bin/bash
# docker/images.sh DIST [WHAT…]    builds the images of what packaging/release.sh has put into DIST, and proves them
#
# WHAT is KIND:ARCHITECTURE; default: every kind for amd64.
#   trixie, forky   Dockerfile.debian on that Debian (Mosquitto 2.0.21, 2.1)
#   alpine          Dockerfile.alpine
#   eclipse         Dockerfile.eclipse-mosquitto
# ARCHITECTURE is amd64, arm64 or armhf; what is not this machine's is emulated.
#
# Each image runs as docker/kubernetes has it: as user 1883, without capabilities, on a root file system that cannot be
# written to. It becomes healthy with nothing but a listener that expects TLS and with no API; it decides as it should once
# there is one (check.sh); what it keeps is there after a restart, in another container; and one that hangs is unhealthy.
#
# Needs root on a Debian 12; the engine is one of its own (engine.sh), and the base images are stand-ins from Debian's archive.
# The one of eclipse-mosquitto:2.1-alpine is busybox and a Mosquitto that was compiled for musl (packaging/musl-brokers.sh),
# with the user, folders and start of the real one, and no TLS: there the health check has a plain listener.
#   EXAMPLE_API    a built example-api (mosquitto-test); default: this machine's cargo builds it
set -euo pipefail
dist=$(realpath "${1:?which folder}")
shift
cd "$(dirname "$0")/.."
# shellcheck source=docker/engine.sh
. docker/engine.sh
# shellcheck source=packaging/common.sh
. packaging/common.sh
die() { step "$*" >&2; exit 1; }

KINDS=("$@")
((${#KINDS[@]})) || KINDS=(trixie:amd64 forky:amd64 alpine:amd64 eclipse:amd64)
VERSION=$(version)
PLAIN=18883 TLS=18884 API=18885

platform() { case $1 in amd64) echo linux/amd64 ;; arm64) echo linux/arm64 ;; armhf) echo linux/arm/v7 ;; esac; }

# The part of eclipse-mosquitto:2.1-alpine that matters here.
make_eclipse() { # ARCHITECTURE IMAGE
  local brokers=$CACHE/musl-brokers-$1 root name
  [[ -x $brokers/mosquitto-2.1 ]] || packaging/musl-brokers.sh "$brokers" "$1"
  root=$(mktemp -d)
  (cd "$root" && apt-get -qq -o APT::Architectures::="$1" -o APT::Sandbox::User=root update >/dev/null && apt-get -qq download "busybox-static:$1" && dpkg-deb -x busybox-static_*.deb unpacked)
  mkdir -p "$root"/root/{bin,sbin,lib,tmp,etc,usr/bin,usr/sbin,usr/lib,var,mosquitto/{config,data,log}}
  chmod 755 "$root/root"
  chmod 1777 "$root/root/tmp"
  chown 1883:1883 "$root/root/mosquitto"/{data,log}
  cp "$root"/unpacked/*/busybox "$root/root/bin/" 2>/dev/null || cp "$root"/unpacked/usr/bin/busybox "$root/root/bin/"
  for name in sh cp mkdir mv rm tar gzip gunzip ls cat id; do ln -s busybox "$root/root/bin/$name"; done
  cp "$brokers"/lib/* "$root/root/lib/"
  cp "$brokers/mosquitto-2.1" "$root/root/usr/sbin/mosquitto"
  echo mosquitto:x:1883:1883::/mosquitto:/sbin/nologin >"$root/root/etc/passwd"
  echo mosquitto:x:1883: >"$root/root/etc/group"
  # shellcheck disable=SC2016 # the script's own shell expands
  printf '#!/bin/sh\nset -e\nexec "$@"\n' >"$root/root/docker-entrypoint.sh"
  chmod 755 "$root/root/docker-entrypoint.sh"
  tar -c -C "$root/root" . | docker import --platform "$(platform "$1")" --change "ENV PATH=$IMAGE_PATH" \
    --change 'ENTRYPOINT ["/docker-entrypoint.sh"]' --change 'CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]' \
    --change 'VOLUME ["/mosquitto/data", "/mosquitto/log"]' - "$2" >/dev/null
  rm -rf "$root"
  step "made a stand-in for eclipse-mosquitto:2.1-alpine on $1"
}

build() { # KIND ARCHITECTURE
  local kind=$1 arch=$2 base file context=. arguments=() unpacked
  case $kind in
    trixie | forky)
      base=debian-$arch:$kind-slim file=docker/Dockerfile.debian
      have_image "$base" || make_debian "$kind" "$arch" "$(platform "$arch")" "$base"
      ;;
    alpine | eclipse)
      base=eclipse-mosquitto-$arch:2.1-alpine file=docker/Dockerfile.$kind
      have_image "$base" || make_eclipse "$arch" "$base"
      ;;
    *) die "$kind is no image: the head of $0 tells" ;;
  esac
  if [[ $kind == eclipse ]]; then
    # The file names the base image and its folder as users would.
    file=$RUN/Dockerfile
    sed "s|^FROM .*|FROM $base|" docker/Dockerfile.eclipse-mosquitto >"$file"
    unpacked=$RUN/unpacked
    mkdir -p "$unpacked"
    case $arch in amd64) arch=x86_64 ;; arm64) arch=aarch64 ;; armhf) arch=armv7 ;; esac
    tar -xzf "$dist/mosquitto-http-auth-$VERSION-$arch-musl.tar.gz" -C "$unpacked"
    context=$unpacked/mosquitto-http-auth-$VERSION-$arch-musl
  else
    context=$RUN/context
    mkdir -p "$context/dist" "$context/docker"
    case $kind in alpine) cp "$dist"/*-musl.tar.gz "$context/dist/" ;; *) cp "$dist"/*.deb "$context/dist/" ;; esac
    cp docker/image.conf "$context/docker/"
    arguments=(--build-arg "BASE_IMAGE=$base" --build-arg "VERSION=$VERSION" --build-arg "REVISION=$(git rev-parse HEAD)")
  fi
  docker build --progress plain --network host --platform "$(platform "$2")" --tag "$IMAGE" "${arguments[@]}" \
    --file "$file" "$context" >"$CACHE/build.log" 2>&1 || { tail -n 60 "$CACHE/build.log" >&2; die "$kind:$2 is not built"; }
  step "$kind:$2 is built: $(docker image inspect --format '{{.Size}}' "$IMAGE" | numfmt --to=si)B"
}

configure() { # KIND LISTENERS
  local folder=$RUN/config
  mkdir -p "$folder"
  {
    case $1 in
      alpine | eclipse) echo "listener $PLAIN 127.0.0.1" ;;
      *)
        printf 'listener %s 127.0.0.1\ncertfile /mosquitto/config/tls.crt\nkeyfile /mosquitto/config/tls.key\n' "$TLS"
        if [[ $2 == both ]]; then printf 'listener %s 127.0.0.1\n' "$PLAIN"; fi
        ;;
    esac
    sed -e '/^listener/d' -e '/^#/d' -e 's/http_host api/http_host 127.0.0.1/' -e "s/8080/$API/" docker/image.conf
    printf 'plugin_opt_http_timeout_ms 20000\nplugin_opt_max_block_ms 20000\nplugin_opt_max_block_percent 100\nplugin_opt_cache_ttl 0\n'
    printf 'plugin_opt_http_header_Authorization @/run/secrets/mqtt-api/authorization\n'
  } >"$folder/mosquitto.conf"
  [[ -e $folder/tls.key ]] || openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
    -keyout "$folder/tls.key" -out "$folder/tls.crt" 2>/dev/null
  chmod 755 "$folder"
  chmod 644 "$folder"/*
  mkdir -p "$RUN/secret"
  echo 'Bearer a-token' >"$RUN/secret/authorization"
}

start() { # ARCHITECTURE
  docker run --detach --name broker --platform "$(platform "$1")" --network host --read-only --cap-drop ALL \
    --security-opt no-new-privileges --user 1883:1883 --health-interval 1s --health-timeout 20s --health-start-period 60s \
    --volume "$RUN/config:/mosquitto/config:ro" --volume "$RUN/secret:/run/secrets/mqtt-api:ro" --volume data:/mosquitto/data \
    "${HEALTH[@]}" "$IMAGE" >/dev/null
  await healthy || { docker logs --tail 50 broker >&2; docker inspect --format '{{json .State.Health}}' broker >&2; die "the broker is not healthy"; }
}

await() { # STATE
  local _ state
  for _ in {1..120}; do
    state=$(docker inspect --format '{{.State.Health.Status}}' broker)
    [[ $state != "$1" ]] || return 0
    [[ $(docker inspect --format '{{.State.Running}}' broker) == true ]] || return 1
    sleep 1
  done
  return 1
}

remove() { docker stop --time 30 broker >/dev/null && docker rm --volumes broker >/dev/null; }

start_api() {
  local program=${EXAMPLE_API:-} _
  if [[ -z $program ]]; then
    nice -n 10 cargo build --quiet --locked --package mosquitto-test --bin example-api
    program=target/debug/example-api
  fi
  "$program" --listen "127.0.0.1:$API" --users mosquitto-test/example/users.toml >"$RUN/api.log" 2>&1 9>&- &
  API_PROCESS=$!
  for _ in {1..300}; do
    kill -0 "$API_PROCESS" 2>/dev/null || break
    if (exec 3<>"/dev/tcp/127.0.0.1/$API") 2>/dev/null; then return; fi
    sleep 0.1
  done
  die "the example API does not start"
}

stop_api() {
  [[ -n $API_PROCESS ]] || return 0
  kill "$API_PROCESS" 2>/dev/null || true
  wait "$API_PROCESS" 2>/dev/null || true
  API_PROCESS=
}

prove() { # KIND ARCHITECTURE
  local kind=$1 arch=$2 pid said
  # This one says nothing of a health check: it has what its base has, which is none.
  HEALTH=()
  if [[ $kind == eclipse ]]; then HEALTH=(--health-cmd 'mosquitto-http-auth healthcheck /mosquitto/config/mosquitto.conf'); fi
  docker volume rm --force data >/dev/null
  if [[ $kind == eclipse ]]; then
    docker volume create data >/dev/null
  else
    [[ $(docker image inspect --format '{{.Config.User}} {{index .Config.Labels "org.opencontainers.image.version"}}' "$IMAGE") == "1883:1883 $VERSION" ]] ||
      die "$kind:$arch: no labels, or another user"
  fi
  configure "$kind" one
  start "$arch"
  step "$kind:$arch is healthy without an API: $(docker exec broker mosquitto-http-auth healthcheck /mosquitto/config/mosquitto.conf)"
  remove

  start_api
  configure "$kind" both
  start "$arch"
  bash docker/check.sh 127.0.0.1 "$PLAIN" >"$RUN/check.log" || { cat "$RUN/check.log" >&2; docker logs broker >&2; die "$kind:$arch decides wrongly"; }
  step "$kind:$arch: $(tail -n 1 "$RUN/check.log")"
  mosquitto_pub -h 127.0.0.1 -p "$PLAIN" -u root -P toor -t kept -m "by $kind:$arch" -r -q 1
  remove
  start "$arch"
  said=$(mosquitto_sub -h 127.0.0.1 -p "$PLAIN" -u root -P toor -t kept -C 1 -W 30)
  [[ $said == "by $kind:$arch" ]] || die "$kind:$arch: a retained message is lost: '$said'"
  docker exec broker sh -c 'kill -HUP 1'
  bash docker/check.sh 127.0.0.1 "$PLAIN" >"$RUN/check.log" || { cat "$RUN/check.log" >&2; die "$kind:$arch decides wrongly after SIGHUP"; }
  docker logs broker >"$RUN/broker.log" 2>&1
  grep -q 'Reloading config' "$RUN/broker.log" || { tail -n 50 "$RUN/broker.log" >&2; die "$kind:$arch: SIGHUP does not reach the broker"; }
  pid=$(docker inspect --format '{{.State.Pid}}' broker)
  kill -STOP "$pid"
  await unhealthy || die "$kind:$arch: a broker that hangs is not unhealthy"
  kill -CONT "$pid"
  remove
  stop_api
  step "$kind:$arch: what was kept is there in another container; a broker that hangs is unhealthy"
}

need openssl mosquitto-clients
install_tools
API_PROCESS=
start_engine
trap 'stop_api; stop_engine' EXIT
IMAGE=mosquitto-http-auth-under-test
for what in "${KINDS[@]}"; do
  emulate "${what#*:}"
  docker rm --force broker >/dev/null 2>&1 || true
  build "${what%:*}" "${what#*:}"
  prove "${what%:*}" "${what#*:}"
done
