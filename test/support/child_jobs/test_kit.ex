defmodule Penstock.ChildJobs.TestKit do
  # Calls the functions of Penstock.Test in a VM where ExUnit does not run.
  @moduledoc false

  @doc "Returns each function with the message of its error."
  def calls do
    work = fn -> :ok end

    for {function, args} <- [
          assert_bounded: [1, work],
          refute_leak: [work],
          flood: [1, work],
          kill_storm: [work],
          fill: [MyApp.Any, [], work],
          start_gate!: [:pool, [limit: 1]]
        ],
        do: {function, message(function, args)}
  end

  defp message(function, args) do
    apply(Penstock.Test, function, args)
  rescue
    error in RuntimeError -> error.message
  end
end
