#!/usr/bin/env bash
# Run by script/dashboard-check. Installs a browser, and looks at the page of Penstock.Dashboard with
# it: see dashboard/check.mjs.
. "$(dirname "$0")/lib.sh"

# skip WHY: ends the check where it cannot run, with a total that says so.
skip() {
  echo "skipped the dashboard in a browser: $1"
  echo "0 passed, 0 failed, 1 skipped"
  if [ -n "${PENSTOCK_TEST_TOTALS:-}" ]; then echo "0 passed, 0 failed, 1 skipped" >>"$PENSTOCK_TEST_TOTALS"; fi
  exit 0
}

. test/integration/dashboard/browser.sh

say "the dashboard in Chromium"
start=$SECONDS
works "the node builds" mix compile
export DASHBOARD_CHECK_PICTURES=${DASHBOARD_CHECK_PICTURES:-$tmp/pictures}

# Well above what the checks take, so that only a check that hangs is cut off.
ended= longest_s=420
while IFS=$'\t' read -r verdict name why; do
  case $verdict in
    ok) ok "$name" ;;
    bad) bad "$name" "$why" ;;
    note) printf '        %s\n' "$name" ;;
    end) ended=1 ;;
  esac
done < <(timeout $longest_s node test/integration/dashboard/check.mjs \
  mix run --no-compile test/integration/dashboard/flood.exs 2>"$log" </dev/null)
if [ "$ended" = 1 ]; then ok "the checks run to their end"; else bad "the checks run to their end" "they stopped"; fi
echo "took $((SECONDS - start)) s"

totals
