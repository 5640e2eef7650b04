#!/usr/bin/env bash
# Run by script/clock-check. Steps the wall clock of a VM back and forward by hours while limiters
# and bans run.
. "$(dirname "$0")/lib.sh"

say "the wall clock is stepped"
faked=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1)
echo "+0" >"$tmp/clock"
works "limits and bans are not affected" env LD_PRELOAD="$faked" FAKETIME_TIMESTAMP_FILE="$tmp/clock" FAKETIME_NO_CACHE=1 \
  DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 mix run --no-compile test/integration/wall_clock.exs "$tmp/clock"
cat "$log"

totals
