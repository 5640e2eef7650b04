defmodule Penstock.Application do
  # Starts the application `:penstock`, in this order:
  #
  #   * the native library is loaded
  #   * the unlimited pool is created, for the work behind limiters and bans
  #   * the directory of Penstock's supervisors is created, and the tables of the edge and of
  #     the totals that are shown
  #   * the pools of refusals and of refused connections that are held back are created
  #   * the table of what was told to `:telemetry` is created
  #   * the janitor, the reaper, the sampler of the VM and the reporter start
  #
  # Pools work without the application, with the exceptions that guides/pools.md lists under "What
  # to know".
  @moduledoc false
  use Application

  alias Penstock.Test.Ownership.Seam

  require Seam

  @impl true
  def start(_type, _args) do
    with {:ok, vm} <- Penstock.VM.Config.read(),
         :ok <- load() do
      :ok = Penstock.Admission.Keyed.make_unlimited_pool()
      :ok = Penstock.Supervision.Directory.create()
      :ok = Penstock.Edge.Table.create()
      :ok = Penstock.View.Floor.create()
      :ok = Penstock.Edge.Delay.create()
      :ok = Penstock.Listener.Lingering.create()
      :ok = Penstock.Telemetry.Baselines.create()
      start_link(vm)
    end
  end

  # The pressure of the VM must not stay as it is when nothing measures it any more. The table of what
  # was told to `:telemetry` ends with the application, but gates go on.
  @impl true
  def stop(_state) do
    :ok = Penstock.Telemetry.Baselines.keep()
    :ok = Penstock.VM.Sampler.forget()
  end

  # Loads the native library now, so that a failure has a message of its own. Otherwise the first
  # native call would raise that its function is undefined.
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

  # Returns the advice for a native library that cannot be loaded. `priv` is the answer of
  # `:code.priv_dir/1`. Inside an escript or an archive, that is no directory of the file system.
  @spec advice(charlist | {:error, :bad_name}) :: String.t()
  def advice(priv) do
    if is_list(priv) and File.dir?(Path.join(priv, "native")),
      do:
        "if it was built for another version of Penstock, or for another system, build it again: " <>
          "mix deps.compile penstock --force. The log names the cause",
      else: "an escript cannot carry native code: use a release"
  end

  defp start_link(vm) do
    # The supervisor bears any realistic number of restarts, because the processes find their state
    # in the native side again when they restart.
    children = [
      Penstock.Node.Janitor,
      Penstock.Node.Reaper,
      {Penstock.VM.Sampler, vm},
      Penstock.Telemetry.Reporter
    ]

    Supervisor.start_link(Seam.children(children),
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1,
      name: Penstock.Supervisor
    )
  end
end
