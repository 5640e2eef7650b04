defmodule Penstock.Bench.Peer do
  @moduledoc false
  # Runs one sample in a VM of its own.

  @two_schedulers [~c"+S", ~c"2:2"]

  # The calling VM compiles the file and sends the module. A compilation in the new VM would leave
  # free memory there. The sample would use that memory, and the VM would grow too little.
  def call(file, function, args) do
    {module, _code} = compiled = compiled(file)
    run([compiled], @two_schedulers, module, function, args)
  end

  # `modules` has pairs of a module and its code, which the new VM loads. `flags` are those of its
  # emulator.
  def run(modules, flags, module, function, args) do
    paths = for app <- [:elixir, :logger, :penstock], do: Application.app_dir(app, "ebin")
    args_of_vm = Enum.flat_map(paths, &[~c"-pa", String.to_charlist(&1)]) ++ flags
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: args_of_vm})
    for {name, code} <- modules, do: {:module, _} = :peer.call(peer, :code, :load_binary, [name, ~c"peer", code])
    result = :peer.call(peer, module, function, args, :infinity)
    :peer.stop(peer)
    result
  end

  defp compiled(file) do
    with nil <- :persistent_term.get({__MODULE__, file}, nil) do
      [{_module, _code} = compiled] = Code.compile_file(file)
      :persistent_term.put({__MODULE__, file}, compiled)
      compiled
    end
  end
end
