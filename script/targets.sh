# Sourced after lib.sh: the machines that the package serves, and what Rust calls them. A number at the end
# is the version of glibc that Zig links for.
declare -A triple=(
  [x86_64-linux-gnu]=x86_64-unknown-linux-gnu.2.17
  [aarch64-linux-gnu]=aarch64-unknown-linux-gnu.2.17
  [arm-linux-gnueabihf]=arm-unknown-linux-gnueabihf.2.17
  # There is no older glibc for it.
  [riscv64-linux-gnu]=riscv64gc-unknown-linux-gnu.2.27
  [x86_64-linux-musl]=x86_64-unknown-linux-musl
  [aarch64-linux-musl]=aarch64-unknown-linux-musl
  [x86_64-darwin]=x86_64-apple-darwin
  [aarch64-darwin]=aarch64-apple-darwin
  [x86_64-windows]=x86_64-pc-windows-gnu
)

# library TARGET: prints the name of the target's library in the package.
library() {
  case "$1" in
    *-windows) echo "$1.dll" ;;
    *) echo "$1.so" ;;
  esac
}

# fingerprint DIR: prints the fingerprint of the NIF's sources in a copy of the repository.
fingerprint() {
  (cd "$1" && MIX_ENV=dev mix run --no-start --no-compile --no-deps-check -e \
    'IO.puts(Penstock.MixProject.Cargo.fingerprint())')
}
