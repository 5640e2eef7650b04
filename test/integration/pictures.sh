#!/usr/bin/env bash
# Run by script/pictures. Lets an application of the guide run under a load that becomes a flood, and
# takes the pictures of guides/observability.md from it.
. "$(dirname "$0")/lib.sh"

skip() { die "cannot take pictures: $1"; }
. test/integration/dashboard/browser.sh
have pngquant pngquant || skip "there is no pngquant, and it cannot be installed"

seconds=${1:-420}
case $seconds in "" | *[!0-9]*) die "expected a number of seconds, got: $seconds" ;; esac

say "$seconds s of load, then pictures"
mix compile >"$log" 2>&1 || { cat "$log" >&2; die "the node does not build"; }
# The node has the name of a real one. It does not listen, so it needs no epmd.
PICTURES_DIRECTORY=$PWD/guides/assets node test/integration/dashboard/pictures.mjs "$seconds" \
  elixir --erl "-dist_listen false" --sname my_app@web-1 -S \
  mix run --no-compile test/integration/dashboard/application.exs "$seconds" </dev/null ||
  die "the pictures are not complete"
ls -l guides/assets
