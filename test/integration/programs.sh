#!/usr/bin/env bash
# Run by script/demo-check. Checks that the demo keeps its promises and that the examples print
# their results.
. "$(dirname "$0")/lib.sh"

# shows NAME LINE COMMAND…: checks that COMMAND succeeds, and that LINE is one of the lines it
# prints.
shows() {
  if ! "${@:3}" >"$log" 2>&1 </dev/null; then
    bad "$1" "it failed"
  elif ! grep -qxF -- "$2" "$log"; then
    bad "$1" "it does not print '$2'"
  else
    ok "$1"
  fi
}

# row ATTACK MODE CONDITION: succeeds if CONDITION is true of the figures of ATTACK in MODE. It is
# a condition of awk, whose variables are columns of the figures.
row() {
  awk -F, -v attack="$1" -v mode="$2" '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    $column["attack"] == attack && $column["mode"] == mode {
      limit = $column["limit"]; peak = $column["peak_processes"]; refused_by_vm = $column["system_limit"]
      offered = $column["offered"]; done = $column["done"]; refused = $column["refused"]; survived = $column["survived"]
      asked = $column["asked"]; answered = $column["answered"]; p99 = $column["answer_p99_us"]
      queue = $column["peak_queue"]; idle_after = $column["idle_after_us"]; mb = $column["peak_memory_mb"]
      print; found++; held += ('"$3"')
    }
    END { exit !(found == 1 && held == 1) }' "$tmp/figures.csv"
}

say "the demo"
start=$SECONDS
works "runs" script/demo --csv "$tmp/figures.csv"
cp "$log" "$tmp/said"
works "in less than 120 s" test $((SECONDS - start)) -lt 120
# Attack (j) needs a web server, which not each machine has.
attacks="a b c c2 d e f g h i k" with_one_pool=2 runs=24
if grep -q '^(j).*: skipped, ' "$tmp/said"; then
  works "(j) is skipped where cowboy is missing" grep -qxF "(j) a real web server: skipped, cowboy is not on the code path" "$tmp/said"
  works "(j) is skipped on the page as well" grep -qF "(j) a real web server: skipped" demo.html
else
  attacks="$attacks j" with_one_pool=3 runs=27
fi
for attack in $attacks; do
  # Only the row of the guarded run has the pool's limit.
  limit=$(awk -F, -v attack=$attack 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
    $at["attack"] == attack && $at["mode"] == "guarded" { print $at["limit"] }' "$tmp/figures.csv")
  # The limit of (k) is that of messages, which have checks of their own.
  [ $attack = k ] || works "($attack) unguarded: there are more processes than the pool allows" row $attack unguarded "peak > $limit + 100"
  works "($attack) guarded: the VM refuses nothing, and survives" row $attack guarded 'refused_by_vm == 0 && survived == "true"'
  works "($attack) guarded: all work is done or refused" row $attack guarded "offered > 0 && done + refused == offered"
  # 300 processes more than the limit are allowed. The VM has some sixty of its own, and (c2) has
  # a hundred callers, each with a stream monitor.
  # The processes of (g) that ask no gate have a check of their own.
  [ $attack = g ] || works "($attack) guarded: the limit holds" row $attack guarded "limit > 0 && peak <= limit + 300"
done
works "(a) unguarded: the VM refuses" row a unguarded "refused_by_vm > 0"
works "(b) unguarded: the VM refuses" row b unguarded "refused_by_vm > 0"
works "(b) guarded: every job is done" row b guarded "done == offered"
works "(d) unguarded: no worker ends" row d unguarded "done == 0"
works "(d) guarded: every worker ends" row d guarded "done == offered"
works "(e) guarded: most children are refused" row e guarded "refused > done"
works "(f) unguarded: others find the VM full" row f unguarded "refused_by_vm > 0 && asked == 999 && answered < asked"
works "(f) one pool: the flood takes it" row f one_pool "asked == 999 && answered < 100 && peak <= limit + 300"
works "(f) guarded: all others are answered" row f guarded "asked == 999 && answered == asked"
works "(g) unguarded: the VM refuses, also the shell" row g unguarded "refused_by_vm > 0 && asked > 0 && answered < asked"
works "(g) guarded: the shell is always answered" row g guarded "asked > 0 && answered == asked"
works "(g) guarded: work is shed while the VM is 95 % full" row g guarded "refused > 0 && done > 0 && peak > 0.95 * 32768 && peak < 0.98 * 32768"
works "(h) unguarded: the VM refuses" row h unguarded "refused_by_vm > 0 && asked == 200 && answered < asked"
works "(h) one pool: no answer to the innocent client" row h one_pool "asked == 200 && answered == 0 && peak <= limit + 300"
works "(h) guarded: every answer" row h guarded "asked == 200 && answered == asked"
works "(i) unguarded: the VM dies" row i unguarded 'survived == "false" && done == 0'
works "(i) unguarded: for lack of memory" grep -qE "_alloc: Cannot allocate [0-9]+ bytes" demo.html
works "(i) guarded: the limit's sessions stay" row i guarded "done == limit"
if [ $with_one_pool = 3 ]; then
  works "(j) unguarded: most answers come too late" row j unguarded "asked == 40 && answered < 20"
  works "(j) one pool: hardly an answer to the innocent client" row j one_pool "asked == 40 && answered < 8"
  works "(j) guarded: every answer in time" row j guarded "asked == 40 && answered == asked"
fi
works "(k) unguarded: the queue grows, and all wait" row k unguarded "offered == 1000000 && done == offered && queue > 100000 && mb > 100 && p99 > 500000"
works "(k) guarded: the queue does not grow" row k guarded "offered == 1000000 && queue > 0 && queue <= limit + 8"
works "(k) guarded: the mailbox soon has all its room" row k guarded "idle_after > 0 && idle_after <= 100000"
works "(k) guarded: calls are answered" row k guarded "asked > 100 && answered == asked && p99 < 1000000"
works "draws the page" grep -q "<svg" demo.html
works "ends with the summary: a line for each attack" test "$(tail -n 25 "$tmp/said" | grep -cE '^\([a-k]2?\) .* alive .*[0-9]( (ms|s|MB)|/[0-9]+|,[0-9]+)$')" = "$(wc -w <<<"$attacks")"
works "the summary: a line for each attack with one pool" test "$(tail -n 25 "$tmp/said" | grep -cE '^    with one pool for all +alive .*[0-9]/[0-9]+$')" = $with_one_pool
works "the summary: one VM is dead" test "$(tail -n 25 "$tmp/said" | grep -cE '^\([a-k]2?\) .* dead ')" = 1
works "says once of each VM that it starts" test "$(grep -c "starting the VM" "$tmp/said")" = $runs
works "shows its options" sh -c 'script/demo --help | grep -q -- "--only a,b"'

say "the examples"
shows "bounded spawn" "five jobs: [:ok, :ok, :ok, :error, :error]; 3 running, room for 0" mix run examples/bounded_spawn.exs
shows "back-pressure" "at most 4 at once" mix run examples/back_pressure.exs
shows "a killed holder" "after the kill: :ok" mix run examples/killed_holder.exs
shows "shared streams" "afterwards: 49; killed: 1" mix run examples/shared_streams.exs
shows "supervised" "after a crash: 2 sessions" mix run examples/supervised.exs
shows "rate limits" "of 1,000 at once from one address: 10 got through" mix run examples/rate_limits.exs
works "every example is checked" test "$(find examples -name '*.exs' | wc -l)" = 6

totals
