defmodule Host do
  # Changes its node to another release and back, while a process holds the only permit of a pool and
  # another one waits for it. Each change must leave both as they are.
  @moduledoc false
  use Application

  alias Penstock.Pool

  @impl true
  def start(_type, _args) do
    children = [{Pool, name: Host.Jobs, limit: 1}, {Task, &run/0}]
    Supervisor.start_link(children, strategy: :one_for_one)
  end

  defp run do
    [old, new, path] = "HOST_RELEASES" |> System.fetch_env!() |> String.split()
    {:ok, _new} = :release_handler.set_unpacked(to_charlist(path), [])

    holder = holder()
    receive do: ({:held, ^holder} -> :ok)
    waiter = holder()
    until(fn -> Pool.info(Host.Jobs).waiting == 1 end)
    say("before", old)
    change(new)
    say("with a holder and a waiter", new)

    Process.exit(holder, :kill)
    receive do: ({:held, ^waiter} -> :ok)
    change(old)
    say("with a new holder", old)

    Process.exit(waiter, :kill)
    until(fn -> Pool.info(Host.Jobs).in_use == 0 end)
    say("at rest", old)
    System.stop(0)
  end

  # Starts a process that holds a permit until it is killed.
  defp holder do
    parent = self()

    spawn(fn ->
      :ok = Pool.acquire(Host.Jobs, timeout: :infinity)
      send(parent, {:held, self()})
      Process.sleep(:infinity)
    end)
  end

  # A process of Penstock may still be in code of the change before, until it next runs.
  defp change(release) do
    case :release_handler.install_release(to_charlist(release)) do
      {:ok, _other, _info} -> :ok
      {:error, {:old_processes, _module}} -> change(release)
    end
  end

  defp until(condition), do: condition.() || until(condition)

  defp say(time, release) do
    info = Pool.info(Host.Jobs)
    {:ok, version} = :application.get_key(:penstock, :vsn)
    code = Pool |> :code.which() |> to_string() |> String.split("/") |> Enum.find(&String.starts_with?(&1, "penstock-"))

    IO.puts(
      "#{time}: release #{release}, penstock #{version}, code #{code}, #{info.in_use} in use, #{info.waiting} waiting"
    )
  end
end
