#!/usr/bin/env bash
# Run by script/pack-check. Uses the package as a user does who has neither Rust nor this repository.
. "$(dirname "$0")/lib.sh"
. script/targets.sh
unset PENSTOCK_NIF_PATH PENSTOCK_NIF_FEATURES PENSTOCK_BUILD MIX_BUILD_PATH MIX_TARGET

tarball=$(ls -t penstock-*.tar 2>/dev/null | head -n 1)
[ -n "$tarball" ] || die "there is no package: run script/pack"
most_bytes=5000000
most_ms=5000

package=$tmp/package
mkdir "$package"
tar -xOf "$tarball" contents.tar.gz | tar -xz -C "$package"

say "the package"
works "is at most $most_bytes bytes" test "$(stat -c %s "$tarball")" -le $most_bytes
works "has a library for each machine" test "$(ls "$package/nifs")" = "$(for target in "${!triple[@]}"; do library "$target"; done | sort)"
for part in test demo bench script; do works "has no $part" test ! -e "$package/$part"; done

# Prints the symbols that the library at $1 needs of a newer glibc than version $2.
newer() {
  objdump -T "$1" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | awk -v most="$2" '
    { split($1, a, "."); split(most, b, "."); if (a[1] > b[1] || a[2] + 0 > b[2] + 0) print }'
}
for library in "$package"/nifs/*-gnu*.so; do
  version=2.17; case "$library" in *riscv64*) version=2.27 ;; esac
  works "${library##*/} needs no glibc above $version" test -z "$(newer "$library" $version)"
done
# The loader of musl names each symbol that it does not find. Only the VM has the functions of NIFs.
unresolved() { /lib/ld-musl-x86_64.so.1 --list "$1" 2>&1 | sed -n 's/.*: \([^:]*\): symbol not found/\1/p' | grep -v '^enif_'; }
works "the loader of musl finds all but the functions of the VM" test -z "$(unresolved "$package/nifs/x86_64-linux-musl.so")"
works "the loader of musl loads it" sh -c "/lib/ld-musl-x86_64.so.1 --list '$package/nifs/x86_64-linux-musl.so' 2>&1 | grep -q libc.so"
# Prints the libraries that the library at $1 needs.
needed() { objdump -p "$1" | sed -n 's/^ *NEEDED *//p'; }
for library in "$package"/nifs/*-musl.so; do works "${library##*/} needs no library but musl" test "$(needed "$library")" = libc.so; done

host=$tmp/host
mkdir -p "$host/lib"
cat >"$host/mix.exs" <<'EOF'
defmodule Host.MixProject do
  use Mix.Project
  def project, do: [app: :host, version: "1.0.0", start_permanent: true, deps: [{:penstock, path: "penstock"}]]
  def application, do: [mod: {Host, []}]
end
EOF
cat >"$host/lib/host.ex" <<'EOF'
defmodule Host do
  use Application

  def start(_type, _args) do
    children = [{Penstock.Pool, name: Host.Jobs, limit: 2}, {Task, &probe/0}]
    Supervisor.start_link(children, strategy: :one_for_one)
  end

  defp probe do
    if System.get_env("HOST_PROBE") do
      IO.puts("probe: #{inspect(Penstock.Pool.try_acquire(Host.Jobs))} #{Penstock.Pool.info(Host.Jobs).in_use}")
      System.stop(0)
    end
  end
end
EOF
cp -r "$package" "$host/penstock"
awk '/^```elixir/ { block = ""; inside = 1; next }
     /^```/ && inside { inside = 0; if (block !~ /\{:penstock,/) { printf "%s", block; exit } }
     inside { block = block $0 "\n" }' README.md >"$host/example.exs" || true
[ -s "$host/example.exs" ] || die "README.md has no example in Elixir"

# in_chroot ROOT COMMAND: runs the shell command in the host, without a network.
in_chroot() {
  unshare --net env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 LC_ALL=C.UTF-8 MIX_ENV=prod \
    chroot "$1" sh -c "cd /host && $2"
}

# boots ROOT: succeeds if the release starts, and gives a permit.
boots() {
  in_chroot "$1" "HOST_PROBE=1 RELEASE_DISTRIBUTION=none _build/prod/rel/host/bin/host start" | tee "$tmp/probe"
  grep -qx 'probe: :ok 1' "$tmp/probe"
}

for pair in otp25 otp27 otp29; do
  root=$matrix_dir/$pair
  rm -rf "$root/host"
  cp -r "$host" "$root/host"
  mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
  say "$pair, without Rust and network"
  works "has no Rust" sh -c "! chroot $root sh -c 'command -v cargo rustc'"
  start=$(date +%s%3N)
  works "compiles the package" in_chroot "$root" "mix deps.compile"
  took=$(($(date +%s%3N) - start))
  works "within $most_ms ms (took $took)" test $took -le $most_ms
  works "runs the first example of the README" in_chroot "$root" "mix run example.exs"
  works "makes a release" in_chroot "$root" "mix release --quiet"
  works "which boots, and gives a permit" boots "$root"
  umount -l "$root/proc"
  rm -rf "$root/host"
done

say "a build with Rust"
works "PENSTOCK_BUILD=1 compiles" sh -c "cd '$host' && PENSTOCK_BUILD=1 MIX_ENV=prod mix deps.compile"
works "runs the first example of the README" sh -c "cd '$host' && PENSTOCK_BUILD=1 MIX_ENV=prod mix run example.exs"

totals
