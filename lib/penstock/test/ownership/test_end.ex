defmodule Penstock.Test.Ownership.TestEnd do
  # Lets ExUnit call a function when the test of the calling process has ended. ExUnit is no
  # dependency of Penstock: where it is not there, or the process is not that of a test or a
  # module, the death of the process ends the ownership.
  @moduledoc false

  @compile {:no_warn_undefined, ExUnit.Callbacks}

  # Returns whether ExUnit will call `fun`, after it has stopped the processes that it supervises.
  @spec call_after(term, Penstock.work(term)) :: boolean
  def call_after(id, fun) do
    Code.ensure_loaded?(ExUnit.Callbacks) and ExUnit.Callbacks.on_exit(id, fun) == :ok
  rescue
    # ExUnit is not started, or the process is not that of a test.
    _error in [ArgumentError, RuntimeError] -> false
  end
end
