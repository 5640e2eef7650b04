defmodule Penstock.Task.DifferentialTest do
  # Each scenario runs with Elixir's `Task.async_stream`, and with `Penstock.Task.async_stream`.
  # All that can be observed must be the same: values, exits, the consumer's mailbox, and the
  # tasks that still run afterwards.
  #
  # | scenarios    | vary                                 | rule out a difference in           |
  # |--------------|--------------------------------------|------------------------------------|
  # | values       | lists, concurrency, order            | results, and their order           |
  # | enumerables  | lazy, infinite, nested, failing ones | pulling ahead, and closing         |
  # | halts        | a stop, raise, throw or exit         | the tasks that are ended           |
  # | failures     | ten ends of a task, trapped or not   | exit reasons, and messages         |
  # | timeouts     | `:on_timeout`, trapped exits         | which tasks die, with which result |
  # | deaths       | kills of the consumer or of a task   | the processes that die too         |
  # | surroundings | messages, dictionaries, links, zip   | traces in the consumer or the task |
  # | suspensions  | suspended, resumed, halted streams   | the state between two elements     |
  #
  # The code of the scenarios is in test/support/differential/.
  use ExUnit.Case, async: true

  alias Penstock.{Differential, Pool}
  alias Penstock.Differential.{Failures, Results, Surroundings}

  @moduletag :capture_log

  # Returns {name, options, scenario} for each scenario; see `Penstock.Differential`. Where an
  # option is `tidier`, Elixir leaves processes linked to the consumer, and Penstock must not.
  # Where it is `ends_all`, Elixir leaves tasks running, and Penstock must not.
  def scenarios, do: Results.scenarios() ++ Failures.scenarios() ++ Surroundings.scenarios()

  @tag timeout: 120_000
  test "there are at least 40 scenarios, and each is seen the same" do
    scenarios = scenarios()
    names = Enum.map(scenarios, &elem(&1, 0))
    assert names == Enum.uniq(names)
    assert length(names) >= 40

    differences =
      scenarios
      |> Task.async_stream(fn {name, options, scenario} -> {name, both(scenario, options)} end,
        max_concurrency: 16,
        timeout: 60_000
      )
      |> Enum.flat_map(fn {:ok, {name, {theirs, ours, left}}} ->
        if theirs == ours and left == {0, 0}, do: [], else: [{name, theirs: theirs, ours: ours, left: left}]
      end)

    assert differences == [], inspect(differences, pretty: true, width: 200, limit: :infinity)
  end

  defp both(scenario, options) do
    pool = Pool.new(limit: 1_000)
    theirs = theirs(scenario, options)
    ours = Differential.observe(&ours(pool, &1, &2, &3), scenario, options)
    theirs = if options[:tidier], do: tidied(theirs), else: theirs
    theirs = if options[:ends_all], do: all_ended(theirs), else: theirs
    {theirs, ours, left(pool)}
  end

  # Returns what is observed with Elixir's function. Seldom, a task dies before Elixir monitors
  # it, and Elixir gives `:noproc` as its reason. Then the scenario runs again.
  defp theirs(scenario, options) do
    seen = Differential.observe(&elixirs/3, scenario, options)
    if inspect(seen, limit: :infinity) =~ ":noproc", do: theirs(scenario, options), else: seen
  end

  # Expects of Penstock that no task runs on. Elixir's tasks that trap exits outlive their
  # consumer; Penstock's must not, as they hold permits.
  defp all_ended(%{alive: alive} = seen) when alive > 0, do: %{seen | alive: 0}

  # Expects of Penstock that its stream leaves no link in the consumer. Elixir's stream left some.
  defp tidied(%{account: {result, messages, false}} = seen), do: %{seen | account: {result, messages, true}}

  defp elixirs(enumerable, {m, f, a}, options), do: Task.async_stream(enumerable, m, f, a, options)
  defp elixirs(enumerable, fun, options), do: Task.async_stream(enumerable, fun, options)
  defp ours(pool, enumerable, {m, f, a}, options), do: Penstock.Task.async_stream(pool, enumerable, m, f, a, options)
  defp ours(pool, enumerable, fun, options), do: Penstock.Task.async_stream(pool, enumerable, fun, options)

  # The permits of dead holders return when their monitors have fired: a caller that gets all
  # permits has waited for that.
  defp left(pool) do
    :ok = Pool.acquire(pool, permits: 1_000, timeout: 5_000)
    :ok = Pool.release(pool, 1_000)
    info = Pool.info(pool)
    {info.in_use, info.waiting}
  end
end
