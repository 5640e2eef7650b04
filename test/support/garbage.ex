defmodule Penstock.Garbage do
  # Terms of every kind that the VM has, for tests of wrong arguments.
  @moduledoc false

  @doc "Returns a pid of another node, and one of an earlier start of this node."
  def remote_pids, do: [remote_pid(:penstock@nowhere, 1), remote_pid(node(), 77)]

  # Builds the pid in the external term format, as NEW_PID_EXT.
  defp remote_pid(node, creation) do
    name = Atom.to_string(node)
    :erlang.binary_to_term(<<131, 88, 119, byte_size(name), name::binary, 1::32, 2::32, creation::32>>)
  end

  # Builds the reference in the external term format, as NEWER_REFERENCE_EXT.
  defp remote_ref do
    :erlang.binary_to_term(<<131, 90, 2::16, 119, 1, "n", 1::32, 7::32, 8::32>>)
  end

  # Builds the port in the external term format, as V4_PORT_EXT.
  defp remote_port do
    :erlang.binary_to_term(<<131, 120, 119, 1, "n", 5::64, 1::32>>)
  end

  def integers do
    powers = for n <- [1, 8, 16, 27, 28, 31, 32, 59, 60, 63, 64, 65, 128, 1_000], do: Integer.pow(2, n)
    near = for power <- powers, off <- -1..1, do: power + off
    Enum.uniq([0] ++ near ++ Enum.map(near, &(-&1)))
  end

  def others do
    {dead, monitor} = spawn_monitor(fn -> :ok end)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
    <<_::4, bits::bitstring>> = <<1, 2, 3>>

    remote_pids() ++
      [remote_ref(), remote_port(), self(), dead, make_ref(), :erlang.alias(), :atomics.new(1, []), hd(Port.list())] ++
      [:counters.new(1, []), :ets.new(:garbage, []), :persistent_term, :"", nil, true, false, :infinity, :keep] ++
      [1.0, -0.0, 1.0e300, "", "binary", String.duplicate("long", 100), bits, <<1::1>>] ++
      [[], [1], [:a | :b], ~c"charlist", [limit: 1], {}, {1}, {:a, 2}, Tuple.duplicate(0, 300)] ++
      [%{}, %{limit: 1}, Map.new(1..100, &{&1, &1}), 1..2, %Penstock.Pool{ref: make_ref()}, %ArgumentError{}] ++
      [fn -> :ok end, fn _ -> :ok end, &Enum.map/2, &:lists.map/2]
  end

  def terms, do: integers() ++ others()
end
