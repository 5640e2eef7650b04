defmodule Penstock.Test.ExUnit do
  # All calls into ExUnit. They are made at run time, because a release has no ExUnit.
  @moduledoc false

  @compile {:no_warn_undefined, [ExUnit, ExUnit.AssertionError, ExUnit.Callbacks]}

  # Raises unless ExUnit runs on this node.
  @spec ensure!(String.t()) :: :ok
  def ensure!(function) do
    if Process.whereis(ExUnit.Server) && Code.ensure_loaded?(ExUnit.AssertionError) do
      :ok
    else
      raise "Penstock.Test.#{function} needs ExUnit, which does not run on this node. " <>
              "Call it in a test, or call ExUnit.start() first"
    end
  end

  # Returns the error of an assertion that failed.
  @spec error(String.t()) :: Exception.t()
  def error(message), do: ExUnit.AssertionError.exception(message: message)

  @spec fail!(String.t()) :: no_return
  def fail!(message), do: raise(error(message))

  @spec seed() :: non_neg_integer
  def seed, do: Keyword.get(ExUnit.configuration(), :seed) || 0

  # Starts a child of the running test. Raises as `start_supervised!/1` if it does not start.
  @spec start_supervised!(Supervisor.child_spec()) :: pid
  def start_supervised!(spec), do: ExUnit.Callbacks.start_supervised!(spec)
end
