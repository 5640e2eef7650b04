#!/usr/bin/env bash
# Run by script/package-check. Builds throw-away projects that depend on Penstock, and checks the
# messages when a build cannot succeed.
. "$(dirname "$0")/lib.sh"
unset PENSTOCK_NIF_PATH PENSTOCK_NIF_FEATURES PENSTOCK_BUILD MIX_BUILD_PATH MIX_TARGET TARGET_ARCH TARGET_OS TARGET_ABI
unset RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS
unset "${!CARGO_BUILD_@}" "${!CARGO_PROFILE_@}" "${!CARGO_TARGET_@}"
# The checks below look for words in cargo's output, and colours would split these words.
export CARGO_TERM_COLOR=never
export MIX_ENV=prod

in_dir() { (cd "$1" && "${@:2}"); }

# path_without NAME…: makes a directory of links to all programs of the PATH except each NAME, and
# prints the directory.
path_without() {
  local dir i dirs
  dir=$(mktemp -d -p "$tmp")
  IFS=: read -ra dirs <<<"$PATH"
  for ((i = ${#dirs[@]} - 1; i >= 0; i--)); do
    [ ! -d "${dirs[i]}" ] || find "${dirs[i]}/" -mindepth 1 -maxdepth 1 -exec ln -sf -t "$dir" {} +
  done
  (cd "$dir" && rm -f "$@")
  echo "$dir"
}

# fake DIR NAME OUTPUT [STATUS]: puts a program NAME into DIR that prints OUTPUT and exits with
# STATUS, by default 0.
fake() {
  rm -f "$1/$2"
  printf '#!/bin/sh\necho "%s"\nexit %d\n' "$3" "${4:-0}" >"$1/$2"
  chmod +x "$1/$2"
}

# host DIR DEPENDENCY: makes an application in DIR whose `deps` are DEPENDENCY. If HOST_PROBE is
# set when it starts, the application acquires a permit, prints the answer, and stops its VM.
host() {
  mkdir -p "$1/lib"
  cat >"$1/mix.exs" <<EOF
defmodule Host.MixProject do
  use Mix.Project
  def project, do: [app: :host, version: "1.0.0", start_permanent: true, deps: [$2]]
  def application, do: [mod: {Host, []}, extra_applications: [:logger]]
end
EOF
  cat >"$1/lib/host.ex" <<'EOF'
defmodule Host do
  use Application

  def start(_type, _args) do
    children = [{Penstock.Pool, name: Host.Jobs, limit: 2}] ++ probe(System.get_env("HOST_PROBE"))
    Supervisor.start_link(children, strategy: :one_for_one)
  end

  defp probe(nil), do: []

  defp probe(_) do
    [{Task, fn ->
      IO.puts("probe: #{inspect(Penstock.Pool.try_acquire(Host.Jobs))} #{Penstock.Pool.info(Host.Jobs).in_use}")
      System.stop(0)
    end}]
  end
end
EOF
}

# boots COMMAND…: succeeds if the host that COMMAND starts boots without cargo and gets its
# permit.
boots() {
  env -i HOME="$HOME" PATH="$no_cargo" LANG=C.UTF-8 HOST_PROBE=1 "$@" | tee "$tmp/probe"
  grep -qx 'probe: :ok 1' "$tmp/probe"
}

# Copies the first example of the README that is a program, not an entry for mix.exs.
example=$tmp/example.exs
awk '/^```elixir/ { block = ""; inside = 1; next }
     /^```/ && inside { inside = 0; if (block !~ /\{:penstock,/) { printf "%s", block; exit } }
     inside { block = block $0 "\n" }' README.md >"$example" || true
[ -s "$example" ] || die "README.md has no example in Elixir"

# Copies the files that Hex would pack, and nothing else. cargo also looks for a workspace in the
# directories above, and the empty one in $tmp ends that search.
package=$tmp/package
mkdir "$package"
mix run --no-start --no-compile --no-deps-check -e \
  'IO.puts(Mix.Project.config()[:package][:files] |> Enum.flat_map(&Path.wildcard(&1, match_dot: true)) |> Enum.join("\n"))' |
  tar -c -T - | tar -x -C "$package"
# The libraries of script/cross, if it has run, may be of other sources.
rm -rf "$package/nifs"
printf '[workspace]\nmembers = []\n' >"$tmp/Cargo.toml"
# The checks build the NIF several times, and none is about its speed.
mkdir "$tmp/.cargo"
printf '[profile.release]\nlto = "off"\ncodegen-units = 16\n' >"$tmp/.cargo/config.toml"
works "the package holds no demo" test -z "$(find "$package" -path '*demo*' ! -path '*/guides/assets/demo.svg')"

# Copies the tree as it is, changes included, to a repository from which git can clone.
repo=$tmp/repo
mkdir "$repo"
tar -c --exclude=.git --exclude=_build --exclude=target --exclude=deps . | tar -x -C "$repo"
in_dir "$repo" git -c init.defaultBranch=main init -q
in_dir "$repo" git add -A
in_dir "$repo" git -c user.name=check -c user.email=check@localhost commit -qm "The tree as it is"

no_cargo=$(path_without cargo rustc rustup)
no_cc=$(path_without cc gcc)
old_cargo=$(path_without cargo)
fake "$old_cargo" cargo "cargo 1.63.0 (fd9c4297c 2022-07-01)"
broken_cargo=$(path_without cargo)
fake "$broken_cargo" cargo "error: no default toolchain is configured" 1
# It says that it has built a library, but there is none.
lying_cargo=$(path_without cargo)
fake "$lying_cargo" cargo "cargo 1.91.0 (0000000 2025-01-01)
"'{\"reason\":\"compiler-artifact\",\"crate_types\":[\"cdylib\"],\"filenames\":[\"/absent/penstock_nif.so\"]}'

say "a path dependency, made of what the package holds"
path_host=$tmp/path_host
host "$path_host" "{:penstock, path: \"$package\"}"
says "no cargo: the version that is needed" "cargo 1.91 or newer, but none is on the PATH" \
  in_dir "$path_host" env PATH="$no_cargo" mix compile
says "no cargo: how to get it" "rustup.rs" in_dir "$path_host" env PATH="$no_cargo" mix compile
says "old cargo" "cargo 1.91 or newer, but $old_cargo/cargo is 1.63.0" \
  in_dir "$path_host" env PATH="$old_cargo" mix compile
says "broken cargo" "no default toolchain is configured" in_dir "$path_host" env PATH="$broken_cargo" mix compile
says "a library that is absent after the build" \
  "cannot read /absent/penstock_nif.so, which cargo has built: no such file or directory" \
  in_dir "$path_host" env PATH="$lying_cargo" mix compile
says "no linker: what the build needs" 'The build needs a C linker (cc), and crates.io once or the crates from `cargo vendor`' \
  in_dir "$path_host" env PATH="$no_cc" mix compile
works "no linker: the last line says what to do" in_dir "$path_host" env PATH="$no_cc" sh -c \
  'mix compile 2>&1 | tail -n 1 | grep "a C linker.* set PENSTOCK_NIF_PATH"'
says "no crates: what the build needs" 'crates.io once or the crates from `cargo vendor`' \
  in_dir "$path_host" env CARGO_HOME="$tmp/no_crates" CARGO_NET_OFFLINE=true mix compile
works "compiles without a warning" in_dir "$path_host" mix compile --warnings-as-errors
nif=$path_host/_build/prod/lib/penstock/priv/native/penstock_nif.so
works "puts the NIF under the build path" test -f "$nif"
works "puts the alerts and the dashboard next to the NIF" \
  test -f "$path_host/_build/prod/lib/penstock/priv/prometheus/alerts.yml" -a -f "$path_host/_build/prod/lib/penstock/priv/grafana/penstock.json"
works "leaves the sources alone" test ! -e "$package/priv/native" -a ! -e "$package/target"
works "compiles again without cargo" in_dir "$path_host" env PATH="$no_cargo" mix compile --force
works "runs the first example of the README" in_dir "$path_host" mix run "$example"
works "compiles no audit" test ! -e "$path_host/_build/prod/lib/penstock/ebin/Elixir.Penstock.Audit.beam"
audits() { in_dir "$path_host" mix penstock.audit --only PS009; }
audit_beams() { find "$path_host/_build/prod/penstock_audit" -name '*.beam' -printf '%p %T@\n' | sort; }
works "compiles the audit when it is first used" audits
beams=$(audit_beams)
same_beams() { audits && [ -n "$beams" ] && [ "$(audit_beams)" = "$beams" ]; }
works "keeps the audit" same_beams
cp "$nif" "$tmp/built.so"
echo garbage >"$nif"
works "builds a damaged NIF again" in_dir "$path_host" mix compile
works "which is then as it was" cmp "$nif" "$tmp/built.so"

built=$(stat -c %i:%Y "$nif")
works "takes a ready-made NIF in another environment" \
  in_dir "$path_host" env MIX_ENV=dev PATH="$no_cargo" PENSTOCK_NIF_PATH="$nif" mix compile
works "builds no crate again in a third environment" in_dir "$path_host" sh -c \
  "MIX_ENV=test mix compile 2>&1 | tee '$tmp/third' && grep Finished '$tmp/third' && ! grep ' Compiling ' '$tmp/third'"
works "leaves the first environment as it was" test "$(stat -c %i:%Y "$nif")" = "$built"

source=$package/native/penstock_core/src/lib.rs
cp -p "$source" "$tmp/lib.rs"
echo "// changed" >>"$source"
says "sees that a source changed" "none is on the PATH" in_dir "$path_host" env PATH="$no_cargo" mix compile
touch "$tmp/lib.rs" && cp "$tmp/lib.rs" "$source"
works "compares contents of sources, not times" in_dir "$path_host" env PATH="$no_cargo" mix compile
# cargo takes a source that is older than its last build for unchanged.
echo "// changed" >>"$source" && touch -d 2001-01-01 "$source"
works "builds a changed source whose time is old" in_dir "$path_host" sh -c \
  "MIX_ENV=test mix compile 2>&1 | tee '$tmp/old' && grep ' Compiling penstock_core' '$tmp/old'"
cp "$tmp/lib.rs" "$source"
says "an unknown feature" "does not contain this feature: nothing" \
  in_dir "$path_host" env PENSTOCK_NIF_FEATURES=nothing mix compile

say "a release"
works "is built" in_dir "$path_host" mix release --quiet
mv "$path_host/_build/prod/rel/host" "$tmp/released"
# Moves the sources and the build away. The release must not need a path from its compilation, and
# with the files in their places that path would still work.
mv "$package" "$tmp/elsewhere" && mv "$path_host/_build" "$tmp/_build"
works "holds the alerts and the dashboard" sh -c "cd $tmp/released/lib/penstock-*/priv && test -f prometheus/alerts.yml -a -f grafana/penstock.json"
works "boots and acquires a permit without cargo" boots "$tmp/released/bin/host" start
mv "$tmp/elsewhere" "$package" && mv "$tmp/_build" "$path_host/_build"

say "a git dependency"
git_host=$tmp/git_host
host "$git_host" "{:penstock, git: \"file://$repo\"}"
# Takes over cargo's build of the first host, so that other crates need not be fetched or built
# again.
mkdir "$git_host/_build"
mv "$path_host/_build/penstock_cargo" "$git_host/_build/"
works "is fetched" in_dir "$git_host" mix deps.get
works "compiles" in_dir "$git_host" mix compile
works "leaves the checkout clean" \
  test -z "$(git -C "$git_host/deps/penstock" status --porcelain -- . ':!.fetch')"
works "runs the first example of the README" in_dir "$git_host" mix run "$example"

say "PENSTOCK_NIF_PATH"
with_nif() { in_dir "$path_host" env MIX_ENV=test PATH="$no_cargo" PENSTOCK_NIF_PATH="$1" "${@:2}" mix compile; }
echo text >"$tmp/text.so"
echo 'int nothing;' | cc -shared -fPIC -x c -o "$tmp/library.so" -
echo 'int nif_init;' | cc -shared -fPIC -x c -o "$tmp/nif.so" -
head -c 100000 "$nif" >"$tmp/short.so"
# Makes a NIF for another machine: changes the machine in the ELF header to 32-bit SPARC.
cp "$nif" "$tmp/foreign.so" && printf '\2' | dd of="$tmp/foreign.so" bs=1 seek=18 conv=notrunc status=none
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
says "no such file" "$tmp/absent.so, which cannot be read: no such file or directory" with_nif "$tmp/absent.so"
says "a directory" "$tmp, which cannot be read" with_nif "$tmp"
says "a relative path" 'expected PENSTOCK_NIF_PATH to be an absolute path, got: "penstock_nif.so"' with_nif penstock_nif.so
says "not a library" "$tmp/text.so, which is not the NIF of Penstock $version" with_nif "$tmp/text.so"
says "not a library: why" "it is not a shared library" with_nif "$tmp/text.so"
says "not a NIF" "it is not a NIF: it has no function nif_init" with_nif "$tmp/library.so"
says "another project's NIF" "it is the NIF of another project" with_nif "$tmp/nif.so"
says "cut short" "$tmp/short.so, which is not the NIF of Penstock $version" with_nif "$tmp/short.so"
says "cut short: why" "it is cut short: 100000 of " with_nif "$tmp/short.so"
says "another machine's" "$tmp/foreign.so, which is not the NIF of Penstock $version on " with_nif "$tmp/foreign.so"
says "another machine's: why" "it is for another machine" with_nif "$tmp/foreign.so"
works "another machine's, with MIX_TARGET set" with_nif "$tmp/foreign.so" MIX_TARGET=other
works "the right one, without a warning" sh -c '"$@" 2>&1 | tee "$0" && ! grep warning "$0"' "$tmp/said" \
  env -C "$path_host" MIX_ENV=test PATH="$no_cargo" PENSTOCK_NIF_PATH="$nif" mix compile
fingerprint=$(in_dir "$package" mix run --no-start --no-compile -e 'IO.puts(Penstock.MixProject.Cargo.fingerprint())')
sed "s/$fingerprint/$(tr 0-9A-F 1-9A-F0 <<<"$fingerprint")/" "$nif" >"$tmp/other_sources.so"
works "another one of this version, with a warning" sh -c '"$@" 2>&1 | tee "$0" && grep "^warning: PENSTOCK_NIF_PATH names" "$0"' "$tmp/said" \
  env -C "$path_host" MIX_ENV=test PATH="$no_cargo" PENSTOCK_NIF_PATH="$tmp/other_sources.so" mix compile
says "checks PENSTOCK_BUILD too" 'expected PENSTOCK_BUILD to be 1, true, 0 or false, got: "yes"' with_nif "$nif" PENSTOCK_BUILD=yes
sed -i "s/^version = \"$version\"/version = \"999.0.0\"/" "$package/Cargo.toml"
says "another version's" "$nif, which is not the NIF of Penstock 999.0.0" with_nif "$nif"
says "another version's: why" "it has another version of Penstock's NIF: $version" with_nif "$nif"
cp Cargo.toml "$package/Cargo.toml"
works "leaves nothing behind" test -z "$(find "$path_host/_build" -path '*staged*')"

. "$(dirname "$0")/relup.sh"

say "a package with ready-made NIFs"
machine=$(uname -m)
mkdir "$package/nifs"
# The checks need a library that was built from the package's sources as they are, such as this one.
packaged=$package/nifs/$machine-linux-gnu.so
cp "$nif" "$packaged"
quick=$tmp/quick
host "$quick" "{:penstock, path: \"$package\"}"
plain() { in_dir "$quick" env PATH="$no_cargo" "$@" mix compile; }
works "is taken without cargo" plain
works "is the one that is used" cmp "$packaged" "$quick/_build/prod/lib/penstock/priv/native/penstock_nif.so"
works "a release of it has that NIF alone" in_dir "$quick" env PATH="$no_cargo" sh -c \
  'mix release --quiet && test 1 = $(find _build/prod/rel -name "*.so" -path "*penstock*" | wc -l)'
works "the release boots" boots "$quick/_build/prod/rel/host/bin/host" start
says "PENSTOCK_BUILD=1 asks for a build" "but none is on the PATH" plain PENSTOCK_BUILD=1
says "PENSTOCK_BUILD=yes" 'expected PENSTOCK_BUILD to be 1, true, 0 or false, got: "yes"' plain PENSTOCK_BUILD=yes
works "PENSTOCK_BUILD=0 takes it" plain PENSTOCK_BUILD=0
says "a feature asks for a build" "PENSTOCK_NIF_FEATURES asks for a build" plain PENSTOCK_NIF_FEATURES=meter
says "a feature needs a build" "must be built, which PENSTOCK_BUILD forbids. PENSTOCK_NIF_FEATURES is set." \
  plain PENSTOCK_BUILD=0 PENSTOCK_NIF_FEATURES=meter
says "a variable of cargo asks for a build" "CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS asks for a build" \
  plain CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
says "a target of cargo asks for a build" "CARGO_BUILD_TARGET asks for a build" plain CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
works "PENSTOCK_BUILD=0 forbids that" plain PENSTOCK_BUILD=0 CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
works "a toolchain or an empty variable asks for none" plain RUSTUP_TOOLCHAIN=stable RUSTC_WRAPPER=sccache RUSTFLAGS=
echo "// changed" >>"$source"
says "sources that changed need a build" "The ready-made NIF was not built from these sources" plain
says "which PENSTOCK_BUILD=0 forbids" "must be built, which PENSTOCK_BUILD forbids. The ready-made NIF was not built" plain PENSTOCK_BUILD=0
cp "$tmp/lib.rs" "$source"
cp "$tmp/foreign.so" "$packaged"
says "another machine's is not taken" "The ready-made NIF for $machine-linux-gnu cannot be used: it is for another machine." plain
cp "$tmp/short.so" "$packaged"
says "one that is cut short is not taken" "cannot be used: it is cut short: 100000 of " plain
cp "$nif" "$packaged"
works "leaves the NIF as it was" cmp "$packaged" "$quick/_build/prod/lib/penstock/priv/native/penstock_nif.so"

say "the next version"
appup=$path_host/_build/prod/lib/penstock/ebin/penstock.appup
released=$(sed -n 's/^  @version "\(.*\)"$/\1/p' mix.exs)
works "notes a release" in_dir "$package" env MIX_BUILD_PATH="$tmp/noted" PENSTOCK_NIF_PATH="$nif" \
  mix run --no-start -e 'Mix.Tasks.Compile.PenstockAppup.release()'
sed -i 's/^  @version ".*"$/  @version "999.0.0"/' "$package/mix.exs"
works "compiles the next version" in_dir "$path_host" mix compile
works "changes a node from the released one" grep -qF "[{\"$released\"," "$appup"
works "leaves the module of the NIF as it is" sh -c "! grep -F Elixir.Penstock.Native '$appup'"
cp mix.exs "$package/" && cp native/compile/released.terms "$package/native/compile/"

say "another target"
nerves() { plain MIX_TARGET=rpi4 TARGET_ARCH="$1" TARGET_OS=linux TARGET_ABI="$2" "${@:3}"; }
works "variables of a target mean nothing for the host" plain TARGET_ARCH=mipsel TARGET_OS=linux TARGET_ABI=musl
says "a target without variables" "TARGET_ARCH, TARGET_OS and TARGET_ABI do not all say what its machine is." plain MIX_TARGET=rpi4
says "a target without variables: what to do" "Set PENSTOCK_NIF_PATH to the path of a ready-made NIF for that target" plain MIX_TARGET=rpi4
says "none for its machine" "The package of Penstock has no ready-made NIF for mipsel-linux-musl." nerves mipsel musl
says "cargo would build for this machine" "Penstock needs a NIF for the Mix target rpi4, and cargo would build one for this machine." \
  in_dir "$quick" env PENSTOCK_BUILD=1 MIX_TARGET=rpi4 mix compile
works "installs nothing for it" test ! -e "$quick/_build/rpi4_prod/lib/penstock/priv/native"
cp "$tmp/foreign.so" "$package/nifs/sparc-linux-gnu.so"
works "that of its machine is taken" nerves sparc gnu
works "and is the one that is used" cmp "$tmp/foreign.so" "$quick/_build/rpi4_prod/lib/penstock/priv/native/penstock_nif.so"
works "takes PENSTOCK_NIF_PATH" plain MIX_TARGET=rpi4 PENSTOCK_NIF_PATH="$tmp/foreign.so"
rm "$package/nifs/sparc-linux-gnu.so"

say "a directory whose name is a pattern"
odd="$tmp/t[1]"
mkdir "$odd"
cp -r "$package" "$odd/package"
host "$odd/host" "{:penstock, path: \"$odd/package\"}"
works "has the ready-made NIF" in_dir "$odd/host" env PATH="$no_cargo" mix compile
works "boots" boots env -C "$odd/host" MIX_ENV=prod mix run --no-halt

say "a build in spite of a ready-made NIF"
works "builds with cargo although there is a NIF" in_dir "$quick" env PENSTOCK_BUILD=1 mix compile
works "uses what was built" cmp "$quick/_build/penstock_cargo/release/libpenstock_nif.so" \
  "$quick/_build/prod/lib/penstock/priv/native/penstock_nif.so"
rm -r "$package/nifs"

say "an escript, which cannot carry native code"
escript=$tmp/escript
mkdir -p "$escript/lib"
cat >"$escript/mix.exs" <<EOF
defmodule Script.MixProject do
  use Mix.Project
  def project, do: [app: :script, version: "1.0.0", deps: [{:penstock, path: "$package"}], escript: [main_module: Script]]
end
EOF
cat >"$escript/lib/script.ex" <<'EOF'
defmodule Script do
  def main(_args), do: IO.inspect(Penstock.Pool.new(limit: 1))
end
EOF
works "is built" in_dir "$escript" env PENSTOCK_NIF_PATH="$nif" mix escript.build
# The code server logs the reason too, but the VM may end before that log is written.
says "asks for a release" "an escript cannot carry native code: use a release" "$escript/script"
"$escript/script" >"$tmp/said" 2>&1 </dev/null || true
works "does not crash in the error path" sh -c "! grep -E 'UndefinedFunctionError|Protocol' '$tmp/said'"

say "a target in cargo's configuration"
target=$(rustc -vV | sed -n 's/^host: //p')
mkdir "$package/.cargo"
printf '[build]\ntarget = "%s"\n' "$target" >"$package/.cargo/config.toml"
works "compiles" in_dir "$path_host" env MIX_ENV=prod sh -c 'rm -r _build/prod/lib/penstock && mix compile'
works "installs what was built" cmp "$nif" "$path_host/_build/penstock_cargo/$target/release/libpenstock_nif.so"
rm -r "$package/.cargo"

say "mix clean"
works "removes the NIF" in_dir "$repo" env PATH="$no_cargo" PENSTOCK_NIF_PATH="$nif" \
  sh -c 'mix compile && test -f _build/prod/lib/penstock/priv/native/penstock_nif.so && mix clean &&
    test ! -e _build/prod/lib/penstock/priv/native/penstock_nif.so'
installed=_build/prod/lib/penstock/priv/native/penstock_nif.so
works "mix compile --force installs it again" in_dir "$repo" env PATH="$no_cargo" PENSTOCK_NIF_PATH="$nif" \
  sh -c "mix compile && old=\$(stat -c %i $installed) && mix compile --force && test \$old != \$(stat -c %i $installed)"
mkdir -p "$tmp/builds/penstock_cargo"
works "leaves directories above MIX_BUILD_PATH alone" in_dir "$repo" env PENSTOCK_NIF_PATH="$nif" MIX_BUILD_PATH="$tmp/builds/one" \
  sh -c 'mix compile && mix clean && test -d "$MIX_BUILD_PATH/../penstock_cargo"'

say "script/setup"
fake "$no_cc" id 1000
works "is silent when nothing is missing" test -z "$(script/setup 2>&1)"
# HOME becomes an empty directory: the scripts put rustup's directory below HOME on the PATH, and
# would find cargo there.
mkdir "$tmp/home"
setup() { env HOME="$tmp/home" PATH="$1" "$repo/script/setup"; }
says "no cargo" "needs Rust 1.91 or newer, and there is no cargo on the PATH" setup "$no_cargo"
says "old cargo" "needs Rust 1.91 or newer, and $old_cargo/cargo is 1.63.0" setup "$old_cargo"
says "broken cargo" "cargo does not run: error: no default toolchain is configured" setup "$broken_cargo"
fake "$no_cc" cargo "cargo 1.91.0 (0000000 2025-01-01)"
says "a package to install, but no root" "installing gcc libc6-dev needs root" setup "$no_cc"
rm "$no_cc/apt-get"
says "a package to install, but no apt" "there is no apt-get" setup "$no_cc"

totals
