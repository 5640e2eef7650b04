defmodule Penstock.Options.NearestTest do
  use ExUnit.Case, async: true

  alias Penstock.Options.Nearest

  defp any(_name), do: true
  defp nearest(name, names), do: Nearest.find(name, names, &any/1)

  test "a misspelt name finds the name that was meant" do
    names = [MyApp.Mails, MyApp.Jobs, MyApp.Uploads, :jobs, :uploads, Other.Reports]

    for {name, meant} <- [
          {MyApp.Jbos, MyApp.Jobs},
          {MyApp.Job, MyApp.Jobs},
          {MyApp.Uplaods, MyApp.Uploads},
          {:uplods, :uploads},
          {MyAp.Jobs, MyApp.Jobs},
          {MyAp.Jbos, MyApp.Jobs},
          # The user has forgotten an `alias`, so the name has no namespace.
          {Reports, Other.Reports},
          {Mails, MyApp.Mails}
        ] do
      assert {name, nearest(name, names)} == {name, meant}
    end
  end

  test "an unlike name is not suggested, even in the same namespace" do
    for {name, names} <- [
          {MyApp.Very.Long.Namespace.Jobs, [MyApp.Very.Long.Namespace.Mails]},
          {:a, [:b]},
          {MyApp.Jobs, []},
          {nil, [MyApp.Jobs]},
          {:"", [:jobs, :.]}
        ] do
      assert {name, nearest(name, names)} == {name, nil}
    end
  end

  test "the name itself is not suggested, nor is a name that the caller does not accept" do
    assert nearest(MyApp.Jobs, [MyApp.Jobs]) == nil
    names = [MyApp.Jobs2, MyApp.Jobs33]
    assert nearest(MyApp.Jobs, names) == MyApp.Jobs2
    assert Nearest.find(MyApp.Jobs, names, &(&1 != MyApp.Jobs2)) == MyApp.Jobs33
    assert Nearest.find(MyApp.Jobs, names, fn _ -> false end) == nil
  end

  test "names of any characters and of any length are compared" do
    long = String.to_atom(String.duplicate("n", 254))
    assert nearest(String.to_atom(String.duplicate("n", 255)), [long]) == long
    assert nearest(:Üploads, [:Üplaods]) == :Üplaods
    assert nearest(:"😀😀😀", [:"😀😀"]) == :"😀😀"
    assert nearest(:"a.b.c.", [:"a.b.c.."]) == :"a.b.c.."
    assert nearest(:..., [:jobs]) == nil
  end

  test "only the first 2,000 names are read" do
    me = self()

    names =
      Stream.map(Stream.iterate(1, &(&1 + 1)), fn n ->
        send(me, :looked_at)
        # All names are one of three atoms, because the VM limits the number of atoms.
        if n == 1_900, do: MyApp.Jobs, else: Enum.at([:jbos_of_others, Other.Mails], rem(n, 2))
      end)

    assert nearest(MyApp.Jbos, names) == MyApp.Jobs
    {:message_queue_len, looked_at} = Process.info(self(), :message_queue_len)
    assert looked_at == 2_000
  end

  test "a search takes less than a million reductions, with 5,000 long names that are alike" do
    name = String.to_atom("Elixir.MyApp." <> String.duplicate("ab", 120))
    names = for n <- 1..5_000, do: String.to_atom("Elixir.MyApp." <> String.duplicate("ab", 118) <> "#{n}")
    {:reductions, before} = Process.info(self(), :reductions)
    assert nearest(name, names) in names
    {:reductions, later} = Process.info(self(), :reductions)
    # A million reductions take some ms.
    assert later - before < 1_000_000
  end
end
