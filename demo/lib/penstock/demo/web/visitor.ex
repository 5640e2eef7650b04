defmodule Penstock.Demo.Web.Visitor do
  @moduledoc false

  # An innocent client of the server. It asks at a steady rate, whether or not it has the answers to
  # its earlier requests, each on a connection of its own. So a slow server is not asked less often.

  alias Penstock.Demo.Tally
  alias Penstock.Demo.Web.Http

  @doc """
  Asks `questions` times, every `every_ms`. Returns when each has its answer or was refused.

  An answer counts for the client if it comes within `patience_ms`.
  """
  @spec visit(:inet.port_number(), :inet.ip_address(), Tally.t(), %{
          questions: pos_integer(),
          every_ms: pos_integer(),
          patience_ms: pos_integer()
        }) :: :ok
  def visit(server, address, tally, plan) do
    begin = System.monotonic_time(:millisecond)

    1..plan.questions
    |> Enum.reduce(%{}, fn question, open ->
      open = hear(open, tally, plan, begin + question * plan.every_ms)
      ask(open, server, address, tally)
    end)
    |> hear(tally, plan, :infinity)

    :ok
  end

  # `open` has the time of its request and the answer so far for each connection.
  defp ask(open, server, address, tally) do
    Tally.add(tally, :offered)
    Tally.add(tally, :asked)
    asked_us = System.monotonic_time(:microsecond)

    case Http.connect(server, address) do
      {:ok, socket} ->
        # If the server has closed the connection, the message of that follows.
        _sent = :gen_tcp.send(socket, Http.request("hello"))
        Map.put(open, socket, {asked_us, ""})

      {:error, _reason} ->
        Tally.add(tally, :refused)
        open
    end
  end

  # Hears answers until the time `until`, or until each request has one.
  defp hear(open, _tally, _plan, :infinity) when open == %{}, do: open

  defp hear(open, tally, plan, until) do
    receive do
      {:tcp, socket, data} when is_map_key(open, socket) ->
        open |> receive_data(socket, data, tally, plan) |> hear(tally, plan, until)

      {:tcp_closed, socket} when is_map_key(open, socket) ->
        Tally.add(tally, :refused)
        open |> Map.delete(socket) |> hear(tally, plan, until)
    after
      wait(until) -> open
    end
  end

  defp wait(:infinity), do: :infinity
  defp wait(until), do: max(until - System.monotonic_time(:millisecond), 0)

  defp receive_data(open, socket, data, tally, plan) do
    {asked_us, before} = open[socket]

    case Http.status(before <> data) do
      :more ->
        %{open | socket => {asked_us, before <> data}}

      status ->
        count(status, asked_us, tally, plan)
        :gen_tcp.close(socket)
        Map.delete(open, socket)
    end
  end

  defp count(200, asked_us, tally, plan) do
    Tally.note_answer(tally, asked_us, plan.patience_ms * 1_000)
    Tally.add(tally, :done)
  end

  defp count(_refusal, _asked_us, tally, _plan), do: Tally.add(tally, :refused)
end
