defmodule Penstock.Bench.Peer do
  @moduledoc false
  # Runs one sample in a VM of its own.
  #
  # The calling VM compiles the file and sends the module. A compilation in the new VM would leave
  # free memory there. The sample would use that memory, and the VM would grow too little.
  def call(file, function, args) do
    {module, code} = compiled(file)
    paths = for app <- [:elixir, :logger, :penstock], do: Application.app_dir(app, "ebin")
    flags = Enum.flat_map(paths, &[~c"-pa", String.to_charlist(&1)]) ++ [~c"+S", ~c"2:2"]
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: flags})
    {:module, _} = :peer.call(peer, :code, :load_binary, [module, ~c"peer", code])
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
