defmodule Penstock.Socket.Config do
  # Reads the options of a module that has `use Penstock.Socket`. Runs when its endpoint starts.
  @moduledoc false

  alias Penstock.Edge.Query
  alias Penstock.Options

  # socket - the module that `use Penstock.Socket` wraps
  # query  - what the gate is asked. Its key is :address by default: that of the client's address
  defstruct [:socket, :query]

  @type t :: %__MODULE__{socket: module, query: Query.t(:address)}

  @example "use Penstock.Socket, socket: MyAppWeb.UserSocket, gate: MyApp.Sockets"

  @spec read!(term) :: t
  def read!(opts) do
    opts = Options.known!(opts, [:socket | Query.options()])

    %__MODULE__{
      socket: socket!(Options.fetch!(opts, :socket, @example)),
      query: Query.read!(opts, :address, "the info of a socket", @example)
    }
  end

  defp socket!(socket) do
    if is_atom(socket) and Code.ensure_loaded?(socket) and function_exported?(socket, :connect, 1),
      do: socket,
      else: Options.expected!(":socket", "a module that implements Phoenix.Socket.Transport", socket)
  end
end
