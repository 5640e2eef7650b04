defmodule Penstock.Process.GatedChildStepsTest do
  # Which native calls a restart makes. Rules out the steps for a full pool where a permit is free.
  #
  # Not async: before OTP 27 a process has one tracer, and tests of Penstock.Test trace all new processes.
  use Penstock.PoolCase, async: false

  import Penstock.GatedChildren

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  test "a restart of a child of start_child/3 takes a free permit by an ordinary acquire" do
    name = unique_name()
    {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: name, limit: 3, max_restarts: 10)
    {:ok, child} = Penstock.DynamicSupervisor.start_child(name, spec_of(1))
    {:ok, other} = Penstock.DynamicSupervisor.start_child(name, spec_of(2))

    [partition] =
      Penstock.Supervision.Group.partitions(Penstock.Supervision.Partitions.fetch!(Penstock.DynamicSupervisor, name))

    partition = Process.whereis(partition)
    # `run_take` acquires a free permit. A restart calls `restart_take` only if there is none.
    traced = [{Penstock.Native, :restart_take, 3}, {Penstock.Native, :run_take, 2}]
    for function <- traced, do: :erlang.trace_pattern(function, true, [:local])
    on_exit(fn -> for function <- traced, do: :erlang.trace_pattern(function, false, [:local]) end)
    :erlang.trace(partition, true, [:call])
    Process.exit(child, :kill)
    assert_receive {:trace, ^partition, :call, {Penstock.Native, :run_take, [^name, 1]}}
    eventually(fn -> DynamicSupervisor.count_children(partition).active == 2 end)
    :erlang.trace(partition, false, [:call])
    refute_received {:trace, ^partition, :call, {Penstock.Native, :restart_take, _}}
    assert Process.alive?(other)
    eventually(fn -> Pool.info(name).in_use == 2 end)
    Penstock.DynamicSupervisor.stop(name)
  end
end
