# Each script of this directory sources this file, which changes to Penstock's directory, and sets
# the locale and the PATH.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The locale uses UTF-8, because Elixir warns under any other encoding.
export LANG=C.UTF-8 LC_ALL=C.UTF-8

# rustup installs cargo in this directory, but only login shells have the directory in their PATH.
if [ -d "${HOME:-/root}/.cargo/bin" ]; then
  PATH="${HOME:-/root}/.cargo/bin:$PATH"
fi

matrix_dir=${PENSTOCK_MATRIX_DIR:-${HOME:-/root}/.cache/penstock/matrix}

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# Ends the script with a message unless the user is root. $1 names the work that needs root.
as_root() {
  [ "$(id -u)" = 0 ] || die "$1 needs root, and this is $(id -un)"
}

# Prints the names of the Debian packages $@ and installs them. Shows apt's output only if it
# fails.
install_packages() {
  has apt-get || die "needs the Debian packages $*, and there is no apt-get: install them by hand"
  as_root "installing $*"
  say "installing $*"
  local log; log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
    >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    die "apt-get could not install $*"
  fi
  rm -f "$log"
}

# make_chroot NAME SUITE PACKAGE…: makes a chroot of a suite of Debian in $matrix_dir/NAME, unless its stamp
# shows that it is complete and has these packages. An interrupted call leaves no stamp, so the next
# call begins again. The variable `architecture` names another one than that of this machine.
make_chroot() {
  local root=$matrix_dir/$1 suite=$2 names="${*:3}"
  [ "$(cat "$root.made" 2>/dev/null)" != "$names" ] || return 0
  has mmdebstrap || install_packages mmdebstrap
  say "$1: making a chroot of Debian $suite, once"
  ! mountpoint -q "$root/proc" || umount "$root/proc"
  rm -rf "$root"
  # By default, apt refuses the lists of a mirror of sid that is some days old.
  mmdebstrap --quiet --variant=apt --aptopt='Acquire::Check-Valid-Until "false"' \
    ${architecture:+--architectures="$architecture"} --include="$(IFS=,; echo "${*:3}")" "$suite" "$root" || die "could not make the chroot of $1"
  printf '%s\n' "$names" >"$root.made"
}
