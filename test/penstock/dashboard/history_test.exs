defmodule Penstock.Dashboard.HistoryTest do
  use Penstock.DashboardCase, async: true

  alias Penstock.Dashboard.{History, Points}
  alias Penstock.View.{Snapshot, State}

  # Counts the snapshots that are taken.
  defp counting do
    counter = :counters.new(1, [])

    take = fn ->
      :counters.add(counter, 1, 1)
      Snapshot.take()
    end

    {counter, take}
  end

  describe "the history" do
    test "takes one snapshot a second, for any number of clients" do
      {counter, take} = counting()
      started = System.monotonic_time(:millisecond)
      {_dashboard, port} = start_dashboard(take: take)

      1..10
      |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..30, do: {200, _} = get_json!(port, "/state") end) end)
      |> Task.await_many(:infinity)

      taken = :counters.get(counter, 1)
      seconds = div(System.monotonic_time(:millisecond) - started, 1_000)
      # One when it starts, one at each beat, and one beat of a second that has begun.
      assert taken in 1..(seconds + 2)
    end

    test "goes on, one point for each snapshot" do
      {counter, take} = counting()
      {_dashboard, port} = start_dashboard(take: take)

      {points, snapshots} =
        eventually(fn ->
          before = :counters.get(counter, 1)
          points = length(times(port))
          if points >= 3 and :counters.get(counter, 1) == before, do: {points, before}
        end)

      assert points == snapshots
    end

    test "takes a snapshot less often if it takes long" do
      assert Enum.map([0, 1, 50, 100, 250, 10_000], &History.rest/1) == [0, 20, 1_000, 2_000, 5_000, 5_000]
      slow = 60
      {counter, take} = counting()

      slowly = fn ->
        receive after: (slow -> :ok)
        take.()
      end

      {_dashboard, port} = start_dashboard(take: slowly)
      times = eventually(fn -> with [_, _, _ | _] = times <- times(port), do: times, else: (_ -> nil) end)
      # 20 times 60 ms after each snapshot.
      assert Enum.all?(Enum.zip(times, tl(times)), fn {one, next} -> next - one >= 1_200 end)
      assert :counters.get(counter, 1) <= length(times) + 1
    end

    test "takes a snapshot less often if the lists take long, while somebody asks" do
      slow = 60

      slowly = fn snapshot, n ->
        receive after: (slow -> :ok)
        State.lists(snapshot, n)
      end

      {_dashboard, port} = start_dashboard(lists: slowly)
      first = List.last(times(port))

      times =
        eventually(fn ->
          times = Enum.filter(times(port), &(&1 >= first))
          if length(times) >= 3, do: times
        end)

      # 20 times 60 ms after each of the lists, also after those that the first client let it read.
      assert Enum.all?(Enum.zip(times, tl(times)), fn {one, next} -> next - one >= 1_200 end)
    end

    test "goes on while its lists fail" do
      {counter, take} = counting()

      ExUnit.CaptureLog.capture_log(fn ->
        {_dashboard, port} = start_dashboard(take: take, lists: fn _snapshot, _n -> raise "an expected fault" end)
        assert {503, %{"error" => "there is no snapshot yet"}} = get_json!(port, "/state")

        # The clients that ask do not put the snapshots off.
        assert eventually(fn ->
                 {503, _} = get_json!(port, "/state")
                 :counters.get(counter, 1) >= 3
               end)
      end)
    end

    test "reads no lists, and writes no state, while nobody asks" do
      {counter, take} = counting()
      {dashboard, port} = start_dashboard(take: take)
      table = context(dashboard).table
      eventually(fn -> :counters.get(counter, 1) >= 2 end)
      assert :ets.lookup(table, :shown) == []
      {200, _} = get_json!(port, "/state")
      assert [{:shown, _, _, _}] = :ets.lookup(table, :shown)
    end
  end

  defp times(port) do
    {200, state} = get_json!(port, "/state")
    state["history"]["t"]
  end

  describe "the points" do
    @vm %{
      pressure: :normal,
      because: [],
      processes: %{count: 1, limit: 2, used: 0.51},
      ports: %{count: 1, limit: 2, used: 0.123456},
      atoms: %{count: 1, limit: 2, used: 0.5},
      ets: %{count: 1, limit: 2, used: 0.5},
      memory: %{count: 1, limit: 2, used: 0.5},
      run_queue: %{count: 1, limit: 2, used: 0.5, delay: 0.0},
      cpu_stall: nil,
      memory_stall: nil
    }

    defp table, do: :ets.new(:points, [:ordered_set, :public])

    defp gate(name, in_use), do: %{name: name, kind: :pool, opening: 1, admitted: 0, refused: %{}, info: info(in_use)}
    defp info(in_use), do: %{in_use: in_use, limit: 100, available: 100 - in_use, overdraft: 0, holders: 1, waiting: 7}

    defp snapshot(at, gates), do: %{at: at, tick: at, vm: @vm, levels: %{}, gates: gates, node: node(), left_out: 0}

    defp name(n), do: :"Elixir.Penstock.HistoryTest.Gate#{String.pad_leading("#{n}", 3, "0")}"
    defp refusing(name, rate), do: %{name => %{admitted: 1.23456, refused: %{full: rate}}}

    test "are curves, with nil where a number is not known" do
      table = table()
      {1_000, _} = Points.add(table, snapshot(1_000, [gate(A, 1)]), %{}, MapSet.new())
      {2_000, _} = Points.add(table, snapshot(2_000, [gate(A, 2), gate(B, 5)]), refusing(A, 3.0), MapSet.new())

      assert %{"t" => [1_000, 2_000], "vm" => vm, "gates" => gates} = Points.between(table, 0, 2_000)

      assert gates["A"] == %{
               "in_use" => [1, 2],
               "waiting" => [7, 7],
               "admitted" => [nil, 1.235],
               "refused" => [nil, 3.0]
             }

      assert gates["B"] == %{
               "in_use" => [nil, 5],
               "waiting" => [nil, 7],
               "admitted" => [nil, nil],
               "refused" => [nil, nil]
             }

      assert vm["processes"] == [0.51, 0.51]
      assert vm["ports"] == [0.1235, 0.1235]
      assert vm["memory_stall"] == [nil, nil]

      assert %{"t" => [2_000]} = Points.between(table, 1_000, 2_000)
      assert %{"t" => [], "gates" => empty} = Points.between(table, 2_000, 2_000)
      assert empty == %{}
      # The instant after which a client asks is of an earlier start of the node.
      assert %{"t" => [1_000, 2_000]} = Points.between(table, 5_000, 2_000)
      # A point that was added meanwhile comes with the next answer.
      assert %{"t" => [1_000]} = Points.between(table, 0, 1_000)
    end

    test "have times that grow, also if the time of the system goes back" do
      table = table()
      assert {5_000, _} = Points.add(table, snapshot(5_000, []), %{}, MapSet.new())
      assert {5_001, _} = Points.add(table, snapshot(1_000, []), %{}, MapSet.new())
      assert {6_000, _} = Points.add(table, snapshot(6_000, []), %{}, MapSet.new())
    end

    test "of a gate that is gone go with it" do
      table = table()
      {_, tracked} = Points.add(table, snapshot(1_000, [gate(A, 1), gate(B, 1)]), %{}, MapSet.new())
      {_, tracked} = Points.add(table, snapshot(2_000, [gate(B, 1)]), %{}, tracked)
      assert tracked == MapSet.new([B])
      assert Map.keys(Points.between(table, 0, 2_000)["gates"]) == ["B"]
    end

    test "prefer gates that refuse, then those that they have" do
      table = table()
      most = Points.most_gates()
      gates = for n <- 1..(2 * most), do: gate(name(n), 1)
      first = MapSet.new(1..most, &name/1)
      assert {_, ^first} = Points.add(table, snapshot(1_000, gates), %{}, MapSet.new())

      late = name(2 * most)
      {_, tracked} = Points.add(table, snapshot(2_000, gates), refusing(late, 1.0), first)
      assert MapSet.member?(tracked, late)
      assert MapSet.size(tracked) == most
      assert MapSet.difference(first, tracked) == MapSet.new([name(most)])

      # It stays when it has stopped refusing.
      assert {_, ^tracked} = Points.add(table, snapshot(3_000, gates), %{}, tracked)
    end

    test "take bounded memory" do
      table = table()
      gates = for n <- 1..500, do: gate(name(n), 1_000_000)
      rates = Map.new(gates, &{&1.name, %{admitted: 1.1, refused: %{full: 2.2, timeout: 3.3}}})

      Enum.reduce(1..(Points.most() + 100), MapSet.new(), fn n, tracked ->
        elem(Points.add(table, snapshot(n * 1_000, gates), rates, tracked), 1)
      end)

      assert :ets.info(table, :size) == Points.most()
      assert :ets.first(table) == 101_000
      bytes = :ets.info(table, :memory) * :erlang.system_info(:wordsize)
      assert bytes < 4_500_000
      assert length(Points.between(table, 0, 9_999_999)["t"]) == Points.most()
    end
  end
end
