defmodule Penstock.NIF.PackagedTest do
  # The choice of a library in the package.
  use ExUnit.Case, async: true

  alias Penstock.MixProject.Packaged

  @names ~w(
    x86_64-linux-gnu aarch64-linux-gnu arm-linux-gnueabihf riscv64-linux-gnu x86_64-linux-musl aarch64-linux-musl
    x86_64-darwin aarch64-darwin x86_64-windows
  )

  # What Erlang calls the machine, on systems that the package serves.
  @served [
    {"x86_64-pc-linux-gnu", "x86_64-linux-gnu"},
    {"x86_64-unknown-linux-gnu", "x86_64-linux-gnu"},
    {"x86_64-redhat-linux-gnu", "x86_64-linux-gnu"},
    {"x86_64-suse-linux", "x86_64-linux-gnu"},
    {"amd64-pc-linux-gnu", "x86_64-linux-gnu"},
    {"aarch64-unknown-linux-gnu", "aarch64-linux-gnu"},
    {"aarch64-suse-linux", "aarch64-linux-gnu"},
    {"arm-unknown-linux-gnueabihf", "arm-linux-gnueabihf"},
    {"armv7l-unknown-linux-gnueabihf", "arm-linux-gnueabihf"},
    {"riscv64-unknown-linux-gnu", "riscv64-linux-gnu"},
    {"x86_64-alpine-linux-musl", "x86_64-linux-musl"},
    {"x86_64-pc-linux-musl", "x86_64-linux-musl"},
    {"aarch64-unknown-linux-musl", "aarch64-linux-musl"},
    {"x86_64-apple-darwin22.6.0", "x86_64-darwin"},
    {"aarch64-apple-darwin23.1.0", "aarch64-darwin"},
    {"arm64-apple-darwin21.0.0", "aarch64-darwin"},
    {"arm-apple-darwin20.6.0", "aarch64-darwin"},
    {"win32", "x86_64-windows"},
    {"x86_64-w64-mingw32", "x86_64-windows"}
  ]

  # A library of the package would not run there.
  @others [
    {"i686-pc-linux-gnu", "i686-linux-gnu"},
    {"i586-suse-linux", "i586-linux-gnu"},
    {"arm-unknown-linux-gnueabi", "arm-linux-gnueabi"},
    {"armv7l-unknown-linux-musleabihf", "arm-linux-musleabihf"},
    {"x86_64-pc-linux-gnux32", "x86_64-linux-gnux32"},
    {"powerpc64le-unknown-linux-gnu", "powerpc64le-linux-gnu"},
    {"amd64-portbld-freebsd13.2", "amd64-portbld-freebsd13.2"},
    {"x86_64-unknown-openbsd7.4", "x86_64-unknown-openbsd7.4"}
  ]

  test "target/3 knows the machines that the package serves, and tells others from them" do
    for {architecture, name} <- @served ++ @others do
      assert {architecture, Packaged.target(:host, architecture, %{})} == {architecture, name}
    end

    assert Enum.sort(Enum.uniq(for {_architecture, name} <- @served, do: name)) == Enum.sort(@names)
    for {_architecture, name} <- @others, do: refute(name in @names)
  end

  test "target/3 takes the processor of Windows from its variable" do
    for {processor, name} <- [{"AMD64", "x86_64-windows"}, {"ARM64", "aarch64-windows"}, {"x86", "x86-windows"}] do
      assert Packaged.target(:host, "win32", %{"PROCESSOR_ARCHITECTURE" => processor}) == name
    end
  end

  test "target/3 ignores the variables of a target for the host" do
    env = %{"TARGET_ARCH" => "arm64", "TARGET_OS" => "linux", "TARGET_ABI" => "musl"}
    assert Packaged.target(:host, "x86_64-pc-linux-gnu", env) == "x86_64-linux-gnu"
  end

  test "target/3 takes another target from the variables, and needs each of them" do
    for {variables, name} <- [
          {~w(arm linux gnueabihf), "arm-linux-gnueabihf"},
          {~w(armv7 linux gnueabihf), "arm-linux-gnueabihf"},
          {~w(aarch64 linux gnu), "aarch64-linux-gnu"},
          {~w(riscv64 linux gnu), "riscv64-linux-gnu"},
          {~w(x86_64 linux musl), "x86_64-linux-musl"},
          {~w(mipsel linux musl), "mipsel-linux-musl"}
        ] do
      env = Map.new(Enum.zip(~w(TARGET_ARCH TARGET_OS TARGET_ABI), variables))
      assert Packaged.target(:rpi4, "x86_64-pc-linux-gnu", env) == name
      for {variable, _} <- env, do: refute(Packaged.target(:rpi4, "x86_64-pc-linux-gnu", Map.delete(env, variable)))
    end
  end
end
