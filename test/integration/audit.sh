#!/usr/bin/env bash
# Installs the audit as an archive, and runs it on a project that does not depend on Penstock. Checks its
# SARIF against the official schema where npm is there. If PENSTOCK_CREDO names a directory with the sources
# of Credo, whose dependencies must be path dependencies, runs the rules as checks of Credo too.
. "$(dirname "$0")/lib.sh"
root=$PWD
# Archives are installed below MIX_HOME, and the user's stay as they are.
export MIX_HOME=$tmp/mix_home
export MIX_ENV=dev
unset MIX_BUILD_PATH MIX_TARGET MIX_EXS
mkdir "$MIX_HOME"
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/penstock/audit

in_dir() { (cd "$1" && "${@:2}"); }

# exits STATUS COMMAND…: succeeds if COMMAND exits with STATUS.
exits() {
  local status=0
  "${@:2}" || status=$?
  [ "$status" = "$1" ] || { echo "exit status $status"; return 1; }
}

# prints TEXT COMMAND…: succeeds if the output of COMMAND holds TEXT.
prints() {
  "${@:2}" >"$tmp/printed" 2>&1 || true
  cat "$tmp/printed"
  grep -qF -- "$1" "$tmp/printed"
}

say "the archive"
# The build goes to a directory of this run, since the sources may have changed with equal times.
works "compiles alone, without a warning" in_dir audit env MIX_BUILD_PATH="$tmp/build" mix compile --warnings-as-errors
works "is built" in_dir audit env MIX_BUILD_PATH="$tmp/build" mix archive.build -o "$tmp/penstock_audit.ez"
works "holds the audit and nothing else of Penstock" sh -c \
  "cd '$tmp/build/lib/penstock_audit/ebin' && find . -name '*.beam' | grep . && ! find . -name '*.beam' | grep -vE '/Elixir\.(Mix\.Tasks\.)?Penstock\.Audit(\..*)?\.beam$'"
works "is installed" mix archive.install --force "$tmp/penstock_audit.ez"
works "leaves nothing in the sources" test -z "$(find audit -mindepth 1 -maxdepth 1 ! -name lib ! -name credo ! -name '*.exs' ! -name README.md)"

host=$tmp/host
mkdir -p "$host/lib"
cat >"$host/mix.exs" <<'EOF'
defmodule Host.MixProject do
  use Mix.Project
  def project, do: [app: :host, version: "1.0.0", deps: [], releases: [host: [vm_args: "+P 100000"]]]
end
EOF
cat >"$host/lib/host.ex" <<'EOF'
defmodule Host do
  import Task, only: [start: 1]

  def all(items) do
    Enum.each(items, fn item -> start(fn -> item end) end)
  end
end
EOF

say "a project that does not depend on Penstock"
works "the code is audited, imports are seen through" prints "lib/host.ex:5:" in_dir "$host" mix penstock.audit
works "so is the configuration" prints "mix.exs:3:" in_dir "$host" mix penstock.audit
works "a finding is no failure" exits 0 in_dir "$host" mix penstock.audit
works "with --strict it is" exits 1 in_dir "$host" mix penstock.audit --strict
works "--only" exits 0 in_dir "$host" mix penstock.audit --strict --only PS009
works "the project has no build and no file more" test "$(cd "$host" && find . -type f | sort | tr '\n' ' ')" = "./lib/host.ex ./mix.exs "
works "one file does the same without the archive" env MIX_HOME="$tmp/no_archive" sh -c \
  "mkdir -p '$tmp/no_archive' && cd '$host' && elixir '$root/audit/run.exs' --only PS001 | grep -F lib/host.ex:5:"
works "also by mix run" env MIX_HOME="$tmp/no_archive" sh -c \
  "cd '$host' && mix run --no-compile --no-start --no-deps-check '$root/audit/run.exs' --only PS020 | grep -F mix.exs:3:"
works "its exit status is that of the task" exits 1 in_dir "$host" elixir "$root/audit/run.exs" --strict

say "a baseline"
works "is written" in_dir "$host" mix penstock.audit --write-baseline "$tmp/baseline"
works "has both findings" test "$(grep -c '^[0-9a-f]' "$tmp/baseline")" = 2
works "hides them" exits 0 in_dir "$host" mix penstock.audit --strict --baseline "$tmp/baseline"
sed -i '1i # A comment moves all lines.' "$host/lib/host.ex"
works "hides moved code" exits 0 in_dir "$host" mix penstock.audit --strict --baseline "$tmp/baseline"
sed -i 's/start(fn -> item end)/start(fn -> {item, 1} end)/' "$host/lib/host.ex"
works "shows changed code" exits 1 in_dir "$host" mix penstock.audit --strict --baseline "$tmp/baseline"
works "tells which entry is gone" prints "no longer found" in_dir "$host" mix penstock.audit --baseline "$tmp/baseline"
says "a file that is none" "is no entry of a baseline" in_dir "$host" mix penstock.audit --baseline mix.exs

say "SARIF"
in_dir "$host" mix penstock.audit --format sarif --baseline "$tmp/baseline" >"$tmp/host.sarif" 2>"$log" || true
works "is written" grep -qF '"version": "2.1.0"' "$tmp/host.sarif"
if has npm && has node && node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)'; then
  mkdir -p "$cache/sarif"
  echo '{ "private": true, "dependencies": { "@microsoft/jest-sarif": "1.0.0-beta.0", "ajv": "8.17.1", "ajv-draft-04": "1.0.0", "ajv-formats": "3.0.1" } }' \
    >"$cache/sarif/package.json"
  if (cd "$cache/sarif" && timeout 60 npm install --no-audit --no-fund --silent --legacy-peer-deps) >"$log" 2>&1 </dev/null; then
    works "has the form that the schema demands" node test/integration/audit/sarif.mjs "$cache/sarif" "$tmp/host.sarif"
    sed 's/"startLine": [0-9]*/"startLine": "five"/' "$tmp/host.sarif" >"$tmp/wrong.sarif"
    says "the check finds a wrong form" "startLine must be integer" node test/integration/audit/sarif.mjs "$cache/sarif" "$tmp/wrong.sarif"
  else
    say "the form is not checked: npm cannot fetch the schema"
  fi
else
  say "the form is not checked: that needs node 18 and npm"
fi

if [ -n "${PENSTOCK_CREDO:-}" ]; then
  say "Credo"
  credo=$tmp/credo
  cp -r "$host" "$credo"
  sed -i "s|deps: \[\]|deps: [{:credo, path: \"$PENSTOCK_CREDO\", only: :dev, runtime: false}]|" "$credo/mix.exs"
  cat >"$credo/.credo.exs" <<EOF
%{
  configs: [
    %{
      name: "default",
      files: %{included: ["lib/", "mix.exs"], excluded: []},
      requires: ["$root/audit/credo/*.ex"],
      checks: %{enabled: [{Penstock.Audit.Credo.ProcessPerElement, []}, {Penstock.Audit.Credo.ReleaseVMArgs, []}]}
    }
  ]
}
EOF
  in_dir "$credo" mix deps.compile >"$log" 2>&1 || true
  works "finds what is in the code" prints "lib/host.ex:6:" in_dir "$credo" mix credo --format oneline
  works "finds what is in the configuration" prints "mix.exs:3:" in_dir "$credo" mix credo --format oneline
  works "explains a check" prints "A process for each element" in_dir "$credo" mix credo explain Penstock.Audit.Credo.ProcessPerElement
fi

say "bad input"
echo 'defmodule Broken do' >"$host/lib/broken.ex"
works "code that does not compile: the exit status is 2" exits 2 in_dir "$host" mix penstock.audit
says "code that does not compile: what the compiler says" "lib/broken.ex" in_dir "$host" mix penstock.audit
rm "$host/lib/broken.ex"
works "an option that there is not: the exit status is 2" exits 2 in_dir "$host" mix penstock.audit --nonsense
works "a rule that there is not: the exit status is 2" exits 2 in_dir "$host" mix penstock.audit --only PS999

totals
