# Sourced by packaging.sh. Changes a running release to the next version of Penstock and back, by
# release_handler. Uses the NIF $nif and the copy of the package $package.

say "a release that changes to the next version while it runs"
next=$tmp/next
next_version=${version%.*}.$((${version##*.} + 1))
cp -r "$package" "$next"
works "the present version is noted as released" in_dir "$next" env PENSTOCK_NIF_PATH="$nif" \
  mix run --no-start -e 'Mix.Tasks.Compile.PenstockAppup.release()'
rm -rf "$next/_build"
# The version in Cargo.toml is that of the NIF, and stays.
sed -i "s/@version \"$version\"/@version \"$next_version\"/" "$next/mix.exs"

# release NUMBER PACKAGE: makes release NUMBER of the host with Penstock from PACKAGE.
release() {
  local dir=$tmp/release_$1
  cp -r "$(dirname "$0")/relup" "$dir"
  in_dir "$dir" env PENSTOCK_NIF_PATH="$nif" PENSTOCK_PACKAGE="$2" HOST_RELEASE="$1" mix release --quiet
}
works "the first release is built" release 1 "$package"
works "the second release is built" release 2 "$next"

root=$tmp/release_1/_build/prod/rel/host
second=$tmp/release_2/_build/prod/rel/host
cp -rn "$second/lib/." "$root/lib/"
cp -rn "$second/releases/2" "$root/releases/"
cat >"$tmp/relup.exs" <<'END'
[root] = System.argv()
paths = for dir <- Path.wildcard("#{root}/lib/*/ebin"), do: to_charlist(dir)
[old, new] = for number <- ["1", "2"], do: to_charlist("#{root}/releases/#{number}/host")
options = [path: paths, outdir: Path.dirname(to_string(new)) |> to_charlist()]
:ok = :systools.make_relup(new, [old], [old], options)
:ok = :release_handler.create_RELEASES(to_charlist(root), to_charlist("#{root}/releases"), old ++ ~c".rel", [])
END
works "the change is planned" env PATH="$no_cargo" elixir "$tmp/relup.exs" "$root"

changes() {
  env -i HOME="$HOME" PATH="$no_cargo" LANG=C.UTF-8 RELEASE_DISTRIBUTION=none \
    HOST_RELEASES="1 2 $root/releases/2/host.rel" timeout 120 "$root/bin/host" start >"$tmp/changes"
  cat "$tmp/changes"
  diff - <(grep ' in use, ' "$tmp/changes") <<END
before: release 1, penstock $version, code penstock-$version, 1 in use, 1 waiting
with a holder and a waiter: release 2, penstock $next_version, code penstock-$next_version, 1 in use, 1 waiting
with a new holder: release 1, penstock $version, code penstock-$version, 1 in use, 0 waiting
at rest: release 1, penstock $version, code penstock-$version, 0 in use, 0 waiting
END
}
works "keeps a holder and a waiter, there and back" changes
