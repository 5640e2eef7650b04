# Checks a library that was built elsewhere. native/compile.exs loads this file.
defmodule Penstock.MixProject.Library do
  @moduledoc false

  alias Penstock.MixProject.Cargo

  # Returns why the contents of a file are no NIF of this version for this machine, or nil.
  #
  # Does not load the library, because a VM that loads a truncated library dies of SIGBUS. The check does
  # not detect a C library of the machine that is too old; only loading does.
  def problem(contents) do
    machine = machine(contents)
    marker = Regex.run(~r/penstock_nif (\d[^\0]*)\0/, contents)

    cond do
      machine == nil ->
        "it is not a shared library"

      byte_size(contents) < elf_size(contents) ->
        "it is cut short: #{byte_size(contents)} of #{elf_size(contents)} bytes"

      :binary.match(contents, "nif_init") == :nomatch ->
        "it is not a NIF: it has no function nif_init"

      marker == nil ->
        "it is the NIF of another project"

      marker != [hd(marker), Cargo.version()] ->
        "it has another version of Penstock's NIF: #{List.last(marker)}"

      # The VM that runs is the host's. So the machine is compared only if the target is the host.
      Mix.target() == :host and vm_machine() not in [machine, nil] ->
        "it is for another machine"

      true ->
        nil
    end
  end

  # Returns the word size, the byte order and the machine that the header of an ELF or Mach-O file
  # names; nil for any other file.
  defp machine(<<0x7F, "ELF", format::binary-size(2), _::binary-size(12), machine::binary-size(2), _::binary>>),
    do: {:elf, format, machine}

  defp machine(<<magic::little-32, machine::binary-size(4), _::binary>>) when magic in [0xFEEDFACE, 0xFEEDFACF],
    do: {:mach_o, magic, machine}

  defp machine(_contents), do: nil

  defp vm_machine do
    case File.read(Path.join([:code.root_dir(), "erts-#{:erlang.system_info(:version)}", "bin/beam.smp"])) do
      {:ok, emulator} -> machine(emulator)
      {:error, _reason} -> nil
    end
  end

  # Returns the least size in bytes that the file must have. For an ELF file that is the end of
  # the table of sections, which is its last part. For an ELF file of fewer than 64 bytes it is
  # 64, so the file counts as cut short. For any other file it is 64 too, which a library always
  # exceeds: the loader of Mach-O files checks their length itself.
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
