# Sourced by dashboard.sh and pictures.sh, each of which defines `skip WHY` first. Installs Chromium,
# Node.js and their packages, and tells the scripts of this directory where they are.

playwright=1.65.1 axe=4.14.1
# The modules stay out of the repository, which has no dependency.
modules=${HOME:-/root}/.cache/penstock/dashboard-check/playwright-core-$playwright-axe-core-$axe

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

export DASHBOARD_CHECK_MODULES=$modules/node_modules
export DASHBOARD_CHECK_CHROMIUM; DASHBOARD_CHECK_CHROMIUM=$(command -v chromium)
