# Checks a library that was built elsewhere. native/compile.exs loads this file.
defmodule Penstock.MixProject.Library do
  @moduledoc false

  alias Penstock.MixProject.Cargo

  # Returns why the contents of a file are no NIF of this version for a VM with the given formats,
  # or nil. The formats are those of `formats/1`, and [] stands for any.
  #
  # Does not load the library, because a VM that loads a truncated library dies of SIGBUS. The
  # check does not detect a C library of the machine that is too old; only loading does.
  def problem(contents, wanted \\ wanted_formats()) do
    formats = formats(contents)
    marker = Regex.run(~r/penstock_nif (\d[^\0]*)\0/, contents)

    cond do
      formats == [] ->
        "it is not a shared library"

      byte_size(contents) < elf_size(contents) ->
        "it is cut short: #{byte_size(contents)} of #{elf_size(contents)} bytes"

      :binary.match(contents, "nif_init") == :nomatch ->
        "it is not a NIF: it has no function nif_init"

      marker == nil ->
        "it is the NIF of another project"

      marker != [hd(marker), Cargo.version()] ->
        "it has another version of Penstock's NIF: #{List.last(marker)}"

      wanted != [] and not Enum.any?(formats, &(&1 in wanted)) ->
        "it is for another machine"

      true ->
        nil
    end
  end

  # Returns the machines that the contents of a file have code for, each as its header names it.
  # That of an ELF file also tells the word size and the byte order. A universal file of macOS has
  # several: it begins with their number, and has 20 bytes about each. A file of another format
  # has none.
  def formats(<<0x7F, "ELF", format::binary-size(2), _::binary-size(12), machine::binary-size(2), _::binary>>),
    do: [{:elf, format, machine}]

  def formats(<<magic::little-32, machine::little-32, _::binary>>) when magic in [0xFEEDFACE, 0xFEEDFACF],
    do: [{:mach_o, machine}]

  def formats(<<0xCAFEBABE::32, count::32, rest::binary>>) when byte_size(rest) >= 20 * count,
    do: for(<<machine::32, _::binary-size(16) <- binary_part(rest, 0, 20 * count)>>, do: {:mach_o, machine})

  # Windows finds the header at an offset, since a program for DOS comes first.
  def formats(<<"MZ", _::binary-size(58), offset::little-32, _::binary>> = file) when byte_size(file) >= offset + 6 do
    case binary_part(file, offset, 6) do
      <<"PE", 0, 0, machine::binary>> -> [{:pe, machine}]
      _other -> []
    end
  end

  def formats(_contents), do: []

  # The VM that runs is the host's, so its machine counts only if the target is the host. A VM
  # whose file cannot be read, or is a script, takes any.
  defp wanted_formats do
    emulator = if match?({:win32, _}, :os.type()), do: "beam.smp.dll", else: "beam.smp"
    path = Path.join([:code.root_dir(), "erts-#{:erlang.system_info(:version)}", "bin", emulator])

    case Mix.target() == :host and File.read(path) do
      {:ok, contents} -> formats(contents)
      _other -> []
    end
  end

  # Returns the least size in bytes that the file must have. For an ELF file that is the end of
  # the table of sections, which is its last part. For an ELF file of fewer than 64 bytes it is
  # 64, so the file counts as cut short. For any other file it is 64 too, which a library always
  # exceeds: the loaders of macOS and Windows check the length themselves.
  defp elf_size(<<0x7F, "ELF", class, order, _::binary>> = elf) when byte_size(elf) >= 64 do
    # 64-bit files have class 2, little-endian ones order 1. The header has the offset of the
    # table at `table`, the size of an entry at `entry_size`, and the number of entries after
    # that.
    {table, word, entry_size} = if class == 2, do: {40, 8, 58}, else: {32, 4, 46}
    field = &:binary.decode_unsigned(binary_part(elf, &1, &2), if(order == 1, do: :little, else: :big))
    field.(table, word) + field.(entry_size, 2) * field.(entry_size + 2, 2)
  end

  defp elf_size(_contents), do: 64
end
