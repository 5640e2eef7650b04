defmodule Penstock.Task.DifferentialTest do
  # Each scenario runs with Elixir's `Task.async_stream` and with `Penstock.Task.async_stream`.
  # The test must observe the same: values, exits, the consumer's mailbox, and the tasks that
  # still run afterwards.
  #
  # | scenarios    | vary                                 | rule out a difference in           |
  # |--------------|--------------------------------------|------------------------------------|
  # | values       | lists, concurrency, order            | results, and their order           |
  # | enumerables  | lazy, infinite, nested, failing ones | how far it pulls ahead, and closes |
  # | halts        | a stop, raise, throw or exit         | the tasks that are ended           |
  # | failures     | ten ends of a task, trapped or not   | exit reasons, and messages         |
  # | timeouts     | `:on_timeout`, trapped exits         | which tasks die, with which result |
  # | deaths       | kills of the consumer or of a task   | the processes that die too         |
  # | surroundings | messages, dictionaries, links, zip   | the state of consumers and tasks   |
  # | suspensions  | suspended, resumed, halted streams   | the state between two elements     |
  #
  # The code of the scenarios is in test/support/differential/.
  use ExUnit.Case, async: true

  alias Penstock.{Differential, Pool}
  alias Penstock.Differential.{Failures, Results, Surroundings}

  @moduletag :capture_log

  # Returns {name, options, scenario} for each scenario; see `Penstock.Differential`. Two options
  # allow a difference. With `tidier`, Elixir leaves processes linked to the consumer, and
  # Penstock must not. With `ends_all`, Elixir leaves tasks running, and Penstock must not.
  def scenarios, do: Results.scenarios() ++ Failures.scenarios() ++ Surroundings.scenarios()

  @tag timeout: Penstock.PoolCase.patience(120_000)
  test "Penstock's stream does the same as Elixir's in each of at least 40 scenarios" do
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

  # Observes a scenario with Elixir's function. In rare runs a task dies before Elixir monitors
  # it, so Elixir gives `:noproc` as the reason. Then the scenario runs again.
  defp theirs(scenario, options) do
    seen = Differential.observe(&elixirs/3, scenario, options)
    if inspect(seen, limit: :infinity) =~ ":noproc", do: theirs(scenario, options), else: seen
  end

  # Returns the observation that Penstock must give: no task runs on. Elixir's tasks that trap
  # exits outlive their consumer. Penstock's tasks must not, because they hold permits.
  defp all_ended(%{alive: alive} = seen) when alive > 0, do: %{seen | alive: 0}

  # Returns the observation that Penstock must give: the stream leaves no link in the consumer.
  # Elixir's stream left some.
  defp tidied(%{account: {result, messages, false}} = seen), do: %{seen | account: {result, messages, true}}

  defp elixirs(enumerable, {m, f, a}, options), do: Task.async_stream(enumerable, m, f, a, options)
  defp elixirs(enumerable, fun, options), do: Task.async_stream(enumerable, fun, options)
  defp ours(pool, enumerable, {m, f, a}, options), do: Penstock.Task.async_stream(pool, enumerable, m, f, a, options)
  defp ours(pool, enumerable, fun, options), do: Penstock.Task.async_stream(pool, enumerable, fun, options)

  # Waits until all permits are back. The permits of a dead holder return when the pool's monitor
  # of that holder fires. A caller that gets all permits has waited for all these monitors.
  defp left(pool) do
    :ok = Pool.acquire(pool, permits: 1_000, timeout: 5_000)
    :ok = Pool.release(pool, 1_000)
    info = Pool.info(pool)
    {info.in_use, info.waiting}
  end
end
