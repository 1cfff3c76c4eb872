#!/bin/bash
# Draws docs/pictures/metrics.png: has Prometheus watch a broker through good and bad times (four
# minutes), and draws what the dashboard's graphs would show. On the way promtool checks the
# metrics, the alerting rules and their tests. Installs nothing into the system: Debian's Prometheus
# is unpacked below target/metrics. `metrics-picture.sh check` only checks, with a short run.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/metrics
what=${1:-draw}
background=()

say() { echo "metrics-picture.sh: $*" >&2; }
finish() {
  for pid in "${background[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}
trap finish EXIT

mkdir -p "$work"

if [[ ! -x $work/prometheus/usr/bin/promtool ]]; then
  say "fetching Debian's Prometheus"
  rm -f "$work"/prometheus_*.deb
  fetch() { (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download prometheus); }
  fetch 2>/dev/null || { apt-get -qq update && fetch; }
  dpkg-deb -x "$work"/prometheus_*.deb "$work/prometheus"
fi
promtool=$work/prometheus/usr/bin/promtool

"$promtool" check rules docs/prometheus/alerts.yaml
"$promtool" check config docs/prometheus/prometheus.yaml
"$promtool" test rules mosquitto-test/metrics/alerts-test.yaml

if [[ $what == draw && ! -x $work/venv/bin/python ]]; then
  say "installing matplotlib"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" -q --disable-pip-version-check install -r mosquitto-test/metrics/requirements.txt
fi
python=python3
[[ $what != draw ]] || python=$work/venv/bin/python

cargo build --quiet --release --locked
cargo build --quiet --release --locked -p mosquitto-test --bin bench
read -r metrics prometheus < <($python mosquitto-test/metrics/picture.py ports 2)

cat >"$work/prometheus.yaml" <<END
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: mosquitto-http-auth
    static_configs:
      - targets: ["127.0.0.1:$metrics"]
END
rm -rf "$work/data"
"$work/prometheus/usr/bin/prometheus" --config.file="$work/prometheus.yaml" \
  --storage.tsdb.path="$work/data" --web.listen-address="127.0.0.1:$prometheus" \
  >"$work/prometheus.log" 2>&1 &
background+=($!)

length=()
[[ $what == draw ]] || length=(--quick)
begin=$(date +%s)
cargo run --quiet --release --locked -p mosquitto-test --bin bench -- watched --broker 2.1.2 \
  --metrics "127.0.0.1:$metrics" --out "$work/bench" "${length[@]}" \
  > >(while read -r line; do echo "$(date +%s.%N) $line"; done | tee "$work/bench.log") &
bench=$!
background+=("$bench")

$python mosquitto-test/metrics/picture.py text "http://127.0.0.1:$metrics/metrics" "$work/metrics.txt"
"$promtool" check metrics <"$work/metrics.txt"
say "promtool is content with the metrics"

wait "$bench"
end=$(date +%s)
if [[ $what == draw ]]; then
  # Lines such as `1764400000.1 2.1.2 asks a slow API for 25.00 s`.
  sed -nE 's/^([0-9.]+) [0-9.]+ (.*) for [0-9.]+ s$/\1 \2/p' "$work/bench.log" >"$work/phases"
  $python mosquitto-test/metrics/picture.py draw docs/grafana/dashboard.json \
    "http://127.0.0.1:$prometheus" "$begin" "$end" "$work/phases" docs/pictures/metrics.png
  say "docs/pictures/metrics.png is drawn"
fi
