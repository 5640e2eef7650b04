defmodule Penstock.Demo.Web.Handler do
  @moduledoc false

  # Handles the requests of the server: a handler of Cowboy.

  @compile {:no_warn_undefined, [:cowboy_req]}

  # These many hashes take about 20 ms of a core.
  @hashes 60_000

  # The gate, and how long a refusal is held back in ms.
  @type state :: {Penstock.gate(), non_neg_integer()} | nil

  @spec init(map(), state()) :: {:ok, map(), state()}
  def init(req, nil = state), do: {:ok, work(req), state}

  def init(req, {gate, refuse_after} = state) do
    {address, _port} = :cowboy_req.peer(req)

    case Penstock.run(gate, fn -> work(req) end, key: Penstock.IP.key(address), timeout: 0) do
      {:ok, req} ->
        {:ok, req, state}

      {:error, _reason} ->
        # A client that asks again at once would be refused again at once, and keep the server busy.
        Process.sleep(refuse_after)
        {:ok, :cowboy_req.reply(503, req), state}
    end
  end

  defp work(req) do
    {body, req} = read(req, [])
    hash(body, @hashes)
    :cowboy_req.reply(200, req)
  end

  defp read(req, parts) do
    case :cowboy_req.read_body(req) do
      {:ok, part, req} -> {IO.iodata_to_binary([parts, part]), req}
      {:more, part, req} -> read(req, [parts, part])
    end
  end

  defp hash(hash, 0), do: hash
  defp hash(text, times), do: text |> :erlang.md5() |> hash(times - 1)
end
