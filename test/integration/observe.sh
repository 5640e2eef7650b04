#!/usr/bin/env bash
# Run by script/observe-check. Lets a real Prometheus and a real Alertmanager observe a node under a
# flood, with the alerts and the dashboard that Penstock ships.
#
#     observe.sh [URL]
#
# With the URL of metrics, as http://127.0.0.1:4141/metrics, observes that node and starts no flood.
. "$(dirname "$0")/lib.sh"

url=${1:-}
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/penstock/observe
pids=()
# Ends what was started. A process that has ended already is no error.
clean() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$tmp"
}
trap clean EXIT

# program NAME PACKAGE: prints the path of a program. Takes it out of the Debian package if it is not
# installed. The package is not installed, because that would start a service.
program() {
  local dir=$cache/$2
  if has "$1"; then command -v "$1"; return; fi
  if [ ! -x "$dir/usr/bin/$1" ]; then
    has apt-get && has dpkg || return 1
    mkdir -p "$dir"
    (cd "$tmp" && { apt-get download "$2" || { apt-get update && apt-get download "$2"; }; } && dpkg -x "$2"_*.deb "$dir") \
      >"$log" 2>&1 </dev/null || return 1
    # Debian's Alertmanager reads its templates from a fixed place. This makes the place relative to the
    # directory that it runs in, by a path of equal length.
    LC_ALL=C sed -i 's|/usr/share/prometheus/alertmanager|usr//share/prometheus/alertmanager|g' "$dir/usr/bin/$1"
  fi
  echo "$dir/usr/bin/$1"
}

if ! promtool=$(program promtool prometheus) || ! prometheus=$(program prometheus prometheus) ||
  ! alertmanager=$(program prometheus-alertmanager prometheus-alertmanager); then
  say "skipped: Prometheus cannot be taken from Debian's packages"
  cat "$log" 2>/dev/null || true
  totals
  exit
fi
has curl || install_packages curl

# free_port: prints a port of the loopback address at which no program listens. It is below those that
# Linux gives to clients, since a client of another program could take one of those meanwhile.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# until_true SECONDS COMMAND…: succeeds as soon as COMMAND does, and fails after SECONDS.
until_true() {
  local end=$((SECONDS + $1))
  until "${@:2}"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

fetch() { curl -sSf --max-time 20 "$@"; }

# query EXPRESSION: prints the answer of Prometheus. holds EXPRESSION: succeeds if it has a sample.
query() { fetch -G --data-urlencode "query=$1" "$server/api/v1/query"; }
holds() { query "$1" | grep -F '"result":[{' >/dev/null; }

# expressions: prints the expressions of the dashboard, with values in place of its variables.
expressions() {
  sed -nE 's/^ *"expr": "(.*)",?$/\1/p' priv/grafana/penstock.json |
    sed -e 's/\\"/"/g' -e 's/\$__rate_interval/10s/g' -e 's/\$\(job\|instance\|gate\)/.*/g'
}

say "the files"
works "the alerts are valid" "$promtool" check rules priv/prometheus/alerts.yml
works "each alert fires when it must, and only then" "$promtool" test rules priv/prometheus/alerts_test.yml
for name in $(sed -nE 's/^ *- alert: (\w+)$/\1/p' priv/prometheus/alerts.yml); do
  grep -q "alertname=\"$name\"" priv/prometheus/alerts_test.yml || untested="${untested:-} $name"
done
works "each alert has a test" test -z "${untested:-}"

if [ -z "$url" ]; then
  say "a node under a flood"
  # The flood ends with its input, so it never outlives this script.
  mkfifo "$tmp/input"
  elixir --erl "+P 65536" -S mix run test/integration/observe/flood.exs "$tmp" <"$tmp/input" >"$tmp/flood" 2>&1 &
  pids+=($!)
  exec 8>"$tmp/input"
  until_true 60 test -f "$tmp/port" || { cat "$tmp/flood"; die "the node does not start"; }
  url=http://127.0.0.1:$(cat "$tmp/port")/metrics
  flood=yes
fi
target=${url#http://}
port=$(free_port)
server=http://127.0.0.1:$port
alerts_port=$(free_port)

cat >"$tmp/alertmanager.yml" <<EOF
route: { receiver: none }
receivers: [{ name: none }]
EOF
cat >"$tmp/prometheus.yml" <<EOF
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["$PWD/priv/prometheus/alerts.yml"]
alerting: { alertmanagers: [{ static_configs: [{ targets: ["127.0.0.1:$alerts_port"] }] }] }
scrape_configs:
  - job_name: penstock
    metrics_path: /${target#*/}
    static_configs: [{ targets: ["${target%%/*}"] }]
EOF
works "the configuration of Prometheus is valid" "$promtool" check config "$tmp/prometheus.yml"
(cd "$(dirname "$alertmanager")/../.." && exec "$alertmanager" --config.file="$tmp/alertmanager.yml" --storage.path="$tmp/alertmanager" --cluster.listen-address= \
  --web.listen-address="127.0.0.1:$alerts_port") >"$tmp/alertmanager.log" 2>&1 8>&- &
pids+=($!)
"$prometheus" --config.file="$tmp/prometheus.yml" --storage.tsdb.path="$tmp/prometheus" \
  --web.listen-address="127.0.0.1:$port" >"$tmp/prometheus.log" 2>&1 8>&- &
pids+=($!)

lint() { fetch "$url" | "$promtool" check metrics; }
works "promtool finds no fault in the metrics" lint
works "a client gets OpenMetrics if it names that" sh -c \
  "curl -sSf -H 'accept: application/openmetrics-text' '$url' | tail -n 1 | grep -qx '# EOF'"
answers() { curl -sf "http://127.0.0.1:$alerts_port/-/ready"; }
works "Alertmanager runs" until_true 10 answers
works "Prometheus scrapes" until_true 30 holds 'up == 1'

say "the dashboard"
if has npm && has node && node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)'; then
  mkdir -p "$cache/grafana"
  echo '{ "private": true, "dependencies": { "@grafana/schema": "13.2.3", "ts-json-schema-generator": "2.3.0", "ajv": "8.17.1" } }' \
    >"$cache/grafana/package.json"
  if (cd "$cache/grafana" && timeout 60 npm install --no-audit --no-fund --silent) >"$log" 2>&1 </dev/null; then
    works "has the form that Grafana's types demand" node test/integration/observe/grafana.mjs "$cache/grafana" priv/grafana/penstock.json
  else
    say "the form is not checked: npm cannot fetch Grafana's types"
  fi
else
  say "the form is not checked: that needs node 18 and npm"
fi

if [ -n "${flood:-}" ]; then
  # A rate over ten seconds needs some scrapes.
  until_true 30 holds 'count_over_time(up[30s]) > 12' || true
  expressions | sort -u >"$tmp/expressions"
  works "has expressions" test "$(wc -l <"$tmp/expressions")" -ge 25
  while read -r expression; do
    holds "$expression" || empty="${empty:-}  $expression"$'\n'
  done <"$tmp/expressions"
  printf '%s' "${empty:-}" >"$tmp/empty"
  works "each expression has data" sh -c "cat '$tmp/empty'; test ! -s '$tmp/empty'"
  works "a hostile name of a gate is a label like any other" holds 'penstock_permits_limit{gate=":\"Flood \\\"\\\\\\n<script>\""} == Inf'

  say "the alerts"
  for metric in $(grep -oE '\bpenstock_[a-z_]+' priv/prometheus/alerts.yml | sort -u); do
    holds "$metric" || missing="${missing:-} $metric"
  done
  works "each metric of the alerts has data${missing:+, but not$missing}" test -z "${missing:-}"
fi

healthy() {
  [ "$(fetch "$server/api/v1/rules" | grep -oF '"health":"ok"' | wc -l)" = "$(grep -c -- '- alert:' priv/prometheus/alerts.yml)" ]
}
works "Prometheus evaluates each alert" until_true 10 healthy

if [ -n "${flood:-}" ]; then
  received() { curl -sf "http://127.0.0.1:$alerts_port/api/v2/alerts" | grep -F '"alertname":"PenstockHeadroomCritical"' >/dev/null; }
  quiet() { fetch "$server/api/v1/alerts" >"$tmp/alerts" && ! grep -q HeadroomCritical "$tmp/alerts"; }
  works "no page while 72 % of the processes are in use" quiet
  touch "$tmp/go"
  works "the page fires, and Alertmanager receives it" until_true 60 received
  share=$(query 'max_over_time(penstock_vm_used_ratio{resource="processes"}[5m])' | sed -E 's/.*,"([0-9.]+)"\].*/\1/')
  works "which is before 90 % are in use: ${share:0:5} so far" awk "BEGIN { exit !($share > 0.8 && $share < 0.9) }"
  works "the flood goes on above 90 %" until_true 40 holds 'penstock_vm_used_ratio{resource="processes"} > 0.9'
  works "the node still answers" fetch -o /dev/null "$url"
fi

totals
