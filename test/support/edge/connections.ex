defmodule Penstock.Connections do
  # Clients that connect to a listener under test, and acceptors that tests drive.
  @moduledoc false

  @patience 10_000 * Penstock.PoolCase.slowness()

  @doc "Connects from an address. Returns the socket, which is passive."
  def connect!(port, from \\ {127, 0, 0, 1}) do
    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, show_econnreset: true, ip: from], @patience)

    socket
  end

  @doc """
  Returns how the other side ended a connection that it sends nothing on: `:closed`, or `:reset`.
  """
  def ended(socket) do
    case :gen_tcp.recv(socket, 0, @patience) do
      {:error, :closed} -> :closed
      {:error, :econnreset} -> :reset
    end
  end

  @doc "Returns `true` if the other side has ended a connection."
  def ended?(socket) do
    case :gen_tcp.recv(socket, 0, 0) do
      {:error, :timeout} -> false
      {:error, _reason} -> true
    end
  end
end
