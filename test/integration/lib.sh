# Sourced by the checks in this directory: a temporary directory, and functions that count checks.
. "$(dirname "${BASH_SOURCE[0]}")/../../script/lib.sh"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
log=$tmp/log

passed=0 failed=0
ok() { passed=$((passed + 1)); printf 'ok      %s\n' "$1"; }
bad() {
  failed=$((failed + 1))
  printf 'FAILED  %s: %s\n' "$1" "$2"
  sed 's/^/        | /' "$log"
}

# works NAME COMMAND…: checks that COMMAND succeeds.
works() {
  if "${@:2}" >"$log" 2>&1 </dev/null; then ok "$1"; else bad "$1" "exit status $?"; fi
}

# says NAME TEXT COMMAND…: checks that COMMAND fails, and that its output holds TEXT and no stack
# trace of Mix.
says() {
  if "${@:3}" >"$log" 2>&1 </dev/null; then
    bad "$1" "it did not fail"
  elif ! grep -qF -- "$2" "$log"; then
    bad "$1" "it does not say '$2'"
  elif grep -qF '(mix ' "$log"; then
    bad "$1" "a stack trace is not an explanation"
  else
    ok "$1"
  fi
}

# totals: prints how many checks passed and failed, and fails if one failed.
totals() {
  echo
  echo "$passed passed, $failed failed"
  if [ -n "${PENSTOCK_TEST_TOTALS:-}" ]; then echo "$passed passed, $failed failed" >>"$PENSTOCK_TEST_TOTALS"; fi
  [ "$failed" = 0 ]
}
