defmodule Penstock.Application do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    with :ok <- load() do
      :ok = Penstock.Admission.Keyed.make_unlimited_pool()
      :ok = Penstock.Supervision.Directory.create()
      start_link()
    end
  end

  # Otherwise the first native call would only say that its function is undefined.
  defp load do
    case Code.ensure_loaded(Penstock.Native) do
      {:module, _native} ->
        :ok

      {:error, reason} ->
        {:error,
         "the native library of Penstock cannot be loaded (#{inspect(reason)}): the log says why. " <>
           "An escript or an archive cannot carry native code: use a release"}
    end
  end

  defp start_link do
    # They keep no state that they cannot find again, so they may be restarted as often as they die.
    Supervisor.start_link([Penstock.Node.Janitor, Penstock.Node.Reaper],
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1,
      name: Penstock.Supervisor
    )
  end
end
