defmodule Penstock.Test do
  @moduledoc """
  Gates for one test.
  """

  alias Penstock.Test.Ownership.OwnedGates

  @typedoc "A process, its name, or a function that returns one of them, or `nil` if it is not there yet."
  @type who :: pid | atom | {:via, module, term} | {:global, term} | Penstock.work(pid | atom)

  @doc """
  Gives the calling test a gate of its own in place of the application's gate `name`.

      # config/test.exs
      config :penstock, test_gates: true

  From then on, whatever the test does with `name` asks the own gate. The application's gate, and
  those of other tests, do not notice. So tests with `async: true` can fill one gate at the same time.
  """
  @spec own(atom, keyword) :: atom
  def own(name, opts \\ []), do: OwnedGates.own(name, opts)

  @spec allow(atom, who) :: :ok
  def allow(name, who), do: OwnedGates.allow(name, who)

  @spec advance(non_neg_integer) :: :ok
  def advance(ms), do: OwnedGates.advance(ms)
end
