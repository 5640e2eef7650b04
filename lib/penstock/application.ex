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

  # Without this check the first native call would raise that its function is undefined.
  defp load do
    case Code.ensure_loaded(Penstock.Native) do
      {:module, _native} ->
        :ok

      {:error, reason} ->
        {:error,
         "the native library of Penstock cannot be loaded (#{inspect(reason)}); " <>
           advice(:code.priv_dir(:penstock))}
    end
  end

  # Returns what to do about a library that cannot be loaded. An archive has no directory of its
  # own.
  @spec advice(charlist | {:error, :bad_name}) :: String.t()
  def advice(priv) do
    if is_list(priv) and File.dir?(Path.join(priv, "native")),
      do:
        "if it was built for another version of Penstock, or for another system, build it again: " <>
          "mix deps.compile penstock --force. The log names the cause",
      else: "an escript cannot carry native code: use a release"
  end

  defp start_link do
    # Both find their state in the native side again, so any number of restarts is right.
    Supervisor.start_link([Penstock.Node.Janitor, Penstock.Node.Reaper],
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1,
      name: Penstock.Supervisor
    )
  end
end
