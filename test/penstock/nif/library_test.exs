defmodule Penstock.NIF.LibraryTest do
  # The check of a library that was built elsewhere, before a VM loads it.
  # test/integration/packaging.sh checks files that the VM of the host cannot load.
  use ExUnit.Case, async: true

  alias Penstock.MixProject.{Cargo, Library}

  # What each library has, and its loader does not need.
  @marks "nif_init\0penstock_nif #{Cargo.version()}\0"
  @x86_64 <<0x8664::little-16>>
  @arm64 <<0xAA64::little-16>>
  @mac_x86_64 0x01000007
  @mac_arm64 0x0100000C

  test "problem/2 takes a library of Windows for the processor of the VM" do
    wanted = Library.formats(windows(@x86_64, ""))
    assert wanted == [{:pe, @x86_64}]
    assert Library.problem(windows(@x86_64, @marks), wanted) == nil
    assert Library.problem(windows(@arm64, @marks), wanted) == "it is for another machine"
    assert Library.problem(mac(@mac_arm64, @marks), wanted) == "it is for another machine"
    assert Library.problem(windows(@x86_64, "nif_init"), wanted) == "it is the NIF of another project"
    assert Library.problem(windows(@x86_64, "penstock_nif 0.2.0\0"), wanted) =~ "it has no function nif_init"
  end

  test "problem/2 takes no program of DOS, and no file whose header of Windows is missing" do
    for file <- ["MZ", "MZ" <> @marks, "MZ" <> :binary.copy("x", 200) <> @marks, cut(windows(@x86_64, @marks), 130)] do
      assert Library.problem(file, []) == "it is not a shared library"
    end
  end

  test "problem/2 takes a library of macOS for one of the processors that the VM is for" do
    for {library, vm, problem} <- [
          {mac(@mac_arm64, @marks), mac(@mac_arm64, ""), nil},
          {mac(@mac_x86_64, @marks), mac(@mac_arm64, ""), "it is for another machine"},
          {universal([@mac_x86_64, @mac_arm64], @marks), mac(@mac_arm64, ""), nil},
          {universal([@mac_x86_64], @marks), mac(@mac_arm64, ""), "it is for another machine"},
          {mac(@mac_x86_64, @marks), universal([@mac_x86_64, @mac_arm64], ""), nil}
        ] do
      assert Library.problem(library, Library.formats(vm)) == problem
    end
  end

  test "problem/2 takes a library of any machine if that of the VM is unknown" do
    for library <- [windows(@arm64, @marks), mac(@mac_arm64, @marks), universal([@mac_arm64], @marks)] do
      assert Library.problem(library, []) == nil
    end
  end

  test "formats/1 of a universal file whose table is cut short is empty" do
    assert Library.formats(cut(universal([@mac_x86_64, @mac_arm64], ""), 47)) == []
    assert Library.formats(<<0xCAFEBABE::32, 0xFFFFFFFF::32>>) == []
  end

  test "problem/1 takes the NIF of this build, and neither another version nor a part of it" do
    nif = File.read!(Path.join(:code.priv_dir(:penstock), "native/penstock_nif#{extension()}"))
    assert Library.problem(nif) == nil
    assert Library.problem(nif, [{:pe, @x86_64}]) == "it is for another machine"
    other = String.replace(nif, "penstock_nif #{Cargo.version()}\0", "penstock_nif 0.0.0\0")
    assert Library.problem(other <> zeros(16)) == "it has another version of Penstock's NIF: 0.0.0"
  end

  defp extension, do: if(match?({:win32, _}, :os.type()), do: ".dll", else: ".so")

  defp windows(machine, rest), do: "MZ" <> zeros(58) <> <<128::little-32>> <> zeros(64) <> "PE\0\0" <> machine <> rest
  defp mac(machine, rest), do: <<0xFEEDFACF::little-32, machine::little-32>> <> zeros(64) <> rest

  defp universal(machines, rest) do
    table = for machine <- machines, into: "", do: <<machine::32>> <> zeros(16)
    <<0xCAFEBABE::32, length(machines)::32>> <> table <> zeros(64) <> rest
  end

  defp zeros(bytes), do: :binary.copy(<<0>>, bytes)
  defp cut(file, bytes), do: binary_part(file, 0, bytes)
end
