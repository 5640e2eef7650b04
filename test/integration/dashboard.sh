#!/usr/bin/env bash
# Run by script/dashboard-check. Installs a browser, and looks at the page of Penstock.Dashboard with
# it: see dashboard/check.mjs.
. "$(dirname "$0")/lib.sh"

playwright=1.65.1 axe=4.14.1
# The modules stay out of the repository, which has no dependency.
modules=${HOME:-/root}/.cache/penstock/dashboard-check/playwright-core-$playwright-axe-core-$axe

# skip WHY: ends the check where it cannot run, with a total that says so.
skip() {
  echo "skipped the dashboard in a browser: $1"
  echo "0 passed, 0 failed, 1 skipped"
  if [ -n "${PENSTOCK_TEST_TOTALS:-}" ]; then echo "0 passed, 0 failed, 1 skipped" >>"$PENSTOCK_TEST_TOTALS"; fi
  exit 0
}

# have PROGRAM PACKAGE…: succeeds if PROGRAM is there, or can be installed with Debian's packages.
have() {
  has "$1" || { (install_packages "${@:2}") >"$log" 2>&1 && has "$1"; }
}

have chromium chromium || skip "there is no chromium, and it cannot be installed"
have node nodejs || skip "there is no node, and it cannot be installed"
if [ ! -d "$modules/node_modules/axe-core" ]; then
  have npm npm || skip "there is no npm, and it cannot be installed"
  say "installing playwright-core $playwright and axe-core $axe into $modules"
  # A directory of another name first, so that a half-done installation is never used.
  rm -rf "$modules" "$modules.new"
  mkdir -p "$modules.new"
  npm install --prefix "$modules.new" --ignore-scripts --no-audit --no-fund --save-exact \
    "playwright-core@$playwright" "axe-core@$axe" >"$log" 2>&1 </dev/null ||
    skip "npm cannot install playwright-core and axe-core"
  mv "$modules.new" "$modules"
fi

say "the dashboard in Chromium"
start=$SECONDS
works "the node builds" mix compile
export DASHBOARD_CHECK_MODULES=$modules/node_modules
export DASHBOARD_CHECK_CHROMIUM; DASHBOARD_CHECK_CHROMIUM=$(command -v chromium)
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
