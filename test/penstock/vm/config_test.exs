defmodule Penstock.VM.ConfigTest do
  use ExUnit.Case, async: true

  alias Penstock.VM.Config

  test "without a configuration, has the defaults" do
    assert {:ok, config} = Config.read([])
    assert config.interval == 100
    assert config.shedding == [:processes, :ports, :ets, :memory]
    assert Enum.sort(Map.keys(config.shares)) == [:atoms, :ets, :memory, :ports, :processes]
    assert config.shares |> Map.values() |> Enum.uniq() == [{0.5, 0.75, 0.9}]
  end

  test "takes levels for all resources, and for one" do
    assert {:ok, config} = Config.read(elevated: 0.4, processes: [high: 0.6, critical: 1])
    assert config.shares.processes == {0.4, 0.6, 1.0}
    assert config.shares.ports == {0.4, 0.75, 0.9}
  end

  test "atoms shed if they are named" do
    assert {:ok, %{shedding: [:atoms], shares: %{atoms: _} = shares}} = Config.read(resources: [:atoms])
    assert map_size(shares) == 1
  end

  test "no resources are measured if none are named" do
    assert {:ok, %{shedding: [], shares: shares}} = Config.read(resources: [])
    assert shares == %{}
  end

  for {vm, message} <- [
        {:on, "expected options to be a keyword list, got: :on"},
        {[hihg: 0.5], "unknown option :hihg, did you mean :high?"},
        {[high: 2], "expected :high to be a number above 0.05 and up to 1.0, got: 2"},
        {[elevated: 0.05], "expected :elevated to be a number above 0.05 and up to 1.0, got: 0.05"},
        {[critical: "0.9"], "expected :critical to be a number above 0.05 and up to 1.0, got: \"0.9\""},
        {[high: 0.4], "expected the levels to be in ascending order"},
        {[high: 0.9], "expected the levels to be in ascending order"},
        {[interval: 0], "expected :interval to be a number of milliseconds between 1 and 60000, got: 0"},
        {[interval: 1.5], "expected :interval to be a number of milliseconds between 1 and 60000, got: 1.5"},
        {[resources: nil], "expected :resources to be a list"},
        {[resources: :all], "expected :resources to be a list of some of :processes, :ports"},
        {[resources: [:disk]], "got: [:disk]"},
        {[resources: [:ports, :ports]], "each once, got: [:ports, :ports]"},
        {[resources: [:ports | :ets]], "expected :resources to be a list"},
        {[memory: 0.9], "expected :memory to be a keyword list such as [high: 0.6], got: 0.9"},
        {[memory: [high: -1]], "expected :high of :memory to be a number above 0.05 and up to 1.0, got: -1"},
        {[memory: [limit: 1]], "unknown option :limit"},
        {[memory: [high: 0.95]], "expected the levels of :memory to be in ascending order"},
        {[cpu_stall: [high: 0.95]], "expected the levels of :cpu_stall to be in ascending order"}
      ] do
    test "#{inspect(vm)} is refused" do
      assert {:error, text} = Config.read(unquote(Macro.escape(vm)))
      assert text =~ "config :penstock, vm: "
      assert text =~ unquote(message)
    end
  end
end
