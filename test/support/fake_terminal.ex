defmodule Penstock.FakeTerminal do
  # A terminal of Erlang's I/O protocol for tests. It sends each output to its owner as
  # `{:output, text}`, and answers reads by what the owner types.
  @moduledoc false

  @doc "Starts a terminal of a size, `{columns, rows}`, or without one: nil. The calling process owns it."
  def start(size) do
    owner = self()
    spawn_link(fn -> serve(%{owner: owner, size: size, reads: [], typed: ""}) end)
  end

  @doc "Types text. A read gets a line of it, or one character, as it has asked."
  def type(terminal, text), do: send(terminal, {:type, text})

  @doc "Ends the input."
  def close_input(terminal), do: send(terminal, {:type, :eof})

  @doc "Returns the number of reads that wait."
  def reads(terminal) do
    send(terminal, {:reads, self()})

    receive do
      {:reads, ^terminal, n} -> n
    end
  end

  @doc "Runs a function in a process that has this terminal. Returns the task."
  def run(terminal, fun) do
    Task.async(fn ->
      Process.group_leader(self(), terminal)
      fun.()
    end)
  end

  defp serve(state) do
    state =
      receive do
        {:io_request, from, ref, request} -> request(request, from, ref, state)
        {:type, :eof} -> answer(%{state | typed: :eof})
        {:type, text} -> answer(%{state | typed: state.typed <> text})
        {:reads, pid} -> tap(state, &send(pid, {:reads, self(), length(&1.reads)}))
      end

    serve(state)
  end

  defp request({:put_chars, _encoding, text}, from, ref, state) do
    send(state.owner, {:output, IO.chardata_to_string(text)})
    reply(from, ref, :ok, state)
  end

  defp request({:get_geometry, _what}, from, ref, %{size: nil} = state), do: reply(from, ref, {:error, :enotsup}, state)
  defp request({:get_geometry, :columns}, from, ref, state), do: reply(from, ref, elem(state.size, 0), state)
  defp request({:get_geometry, :rows}, from, ref, state), do: reply(from, ref, elem(state.size, 1), state)
  defp request(:getopts, from, ref, state), do: reply(from, ref, [encoding: :unicode], state)

  defp request({:get_line, _encoding, _prompt}, from, ref, state),
    do: answer(%{state | reads: state.reads ++ [{:line, from, ref}]})

  defp request({:get_chars, _encoding, _prompt, 1}, from, ref, state),
    do: answer(%{state | reads: state.reads ++ [{:key, from, ref}]})

  defp reply(from, ref, answer, state) do
    send(from, {:io_reply, ref, answer})
    state
  end

  defp answer(%{reads: [{kind, from, ref} | reads]} = state) do
    case take(kind, state.typed) do
      nil -> state
      {answer, typed} -> answer(reply(from, ref, answer, %{state | reads: reads, typed: typed}))
    end
  end

  defp answer(state), do: state

  defp take(_kind, :eof), do: {:eof, :eof}
  defp take(:key, <<key::utf8, rest::binary>>), do: {<<key::utf8>>, rest}
  defp take(:key, ""), do: nil

  defp take(:line, typed) do
    case String.split(typed, "\n", parts: 2) do
      [line, rest] -> {line <> "\n", rest}
      [_part] -> nil
    end
  end
end
