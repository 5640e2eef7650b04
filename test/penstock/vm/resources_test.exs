defmodule Penstock.VM.ResourcesTest do
  use ExUnit.Case, async: true

  alias Penstock.VM.Resources

  # A share above that of any bound.
  @any 1_000.0

  defp files(sources, least) do
    assert {%{memory: memory, cpu_stall: _, memory_stall: _}, sources} = Resources.files(sources, least)
    {memory, sources}
  end

  # Returns the first result whose bound did not take long. On a busy machine, a read can be
  # preempted.
  defp quick(read, tries \\ 1_000) do
    case read.() do
      {_memory, %{bounds?: true}} = result -> result
      _slow when tries > 0 -> quick(read, tries - 1)
      _slow -> flunk("no read of a bound was quick")
    end
  end

  describe "files/2" do
    test "looks where the files are again after 5 s, and reads the stalls again after 1 s" do
      {_memory, first} = files(nil, @any)
      {_memory, second} = files(first, @any)
      assert Map.take(second, [:looked_at, :stalls_at]) == Map.take(first, [:looked_at, :stalls_at])
      {_memory, third} = files(%{second | stalls_at: second.stalls_at - 1_000}, @any)
      assert third.stalls_at >= first.stalls_at and third.looked_at == first.looked_at
      {_memory, fourth} = files(%{third | looked_at: third.looked_at - 5_000, limit: nil}, @any)
      assert fourth.limit == first.limit
    end

    test "keeps what it found if no file tells where the VM is any more" do
      {_memory, sources} = files(nil, @any)
      groups = [{:v2, "/no/such/group"}]
      # The VM is in none of these, and the files say that it is in no group at all.
      before = %{sources | memory: %{sources.memory | groups: groups}, looked_at: sources.looked_at - 5_000}
      {_memory, looked} = files(before, @any)
      {_memory, found} = files(nil, @any)
      assert looked.memory.groups == if(found.memory.groups == [], do: groups, else: found.memory.groups)
    end

    test "is content with a bound of the memory below the share, unless a bound took long" do
      if File.exists?("/proc/meminfo") do
        {bound, sources} = quick(fn -> files(nil, @any) end)
        {exact, after_exact} = files(%{sources | bounds?: false}, @any)
        assert exact.limit == bound.limit
        refute after_exact.bounds?
        # No bound is below this share, so the next reads are exact.
        assert {%{used: _}, %{bounds?: false}} = files(sources, 0.0)
        quick(fn -> files(%{after_exact | looked_at: sources.looked_at - 5_000}, @any) end)
      end
    end
  end
end
