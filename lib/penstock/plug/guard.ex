defmodule Penstock.Plug.Guard do
  # Asks the gate of a plug, and calls the plug behind it or refuses. Runs in the process that
  # serves the request.
  @moduledoc false

  alias Penstock.Admission.Request
  alias Penstock.Edge.{Ask, Delay, Notice, Query}
  alias Penstock.{IP, Options}
  alias Penstock.Plug.{Check, Config, Conn, Quota, Refusal}

  # Where a conn carries the failure of a function of the options to the plug behind the gate.
  @failure :penstock_failure

  # Where a conn carries the reason for which it would have been refused, by `dry_run: true`.
  @dry_run :penstock_dry_run

  # Calls `next` with the conn if the gate admits it. Holds the permits until `next` has ended,
  # however it ends; the death of the process releases them too.
  #
  # If a function of the options raises, nothing is taken. `:outside` lets it pass through.
  # `:inside` hands it to `next`, whose `reraise/1` raises it where errors of the application are
  # rendered.
  @spec around(map, Config.t(), (map -> map), :inside | :outside) :: map
  def around(conn, config, next, failures) do
    case ask(conn, config) do
      :skipped -> next.(conn)
      {:admitted, permits, request} -> run(conn, config, permits, request, next)
      {:refused, reason, request} -> refused(conn, reason, request, config, next)
      {:failed, failure} when failures == :inside -> fail_inside(conn, failure, next)
      {:failed, {kind, reason, stack}} -> :erlang.raise(kind, reason, stack)
    end
  end

  # If `next` did not raise the failure, the request would have been served without a permit.
  defp fail_inside(conn, {kind, reason, stack} = failure, next) do
    _conn = next.(Conn.put_private(conn, @failure, failure))
    :erlang.raise(kind, reason, stack)
  end

  defp run(conn, config, permits, request, next) do
    conn |> put_quotas(config, request) |> next.()
  after
    Ask.give_back(permits)
  end

  # Raises the failure that a conn carries.
  @spec reraise(map) :: :ok
  def reraise(%{private: %{@failure => {kind, reason, stack}}}), do: :erlang.raise(kind, reason, stack)
  def reraise(_conn), do: :ok

  # Asks the gate of a plug in a pipeline, which holds nothing.
  @spec once(map, Config.t()) :: map
  def once(conn, config) do
    case decide(conn, config) do
      :skipped ->
        conn

      {:admitted, {_ref, [], _permits}, request} ->
        put_quotas(conn, config, request)

      {:admitted, permits, _request} ->
        Ask.give_back(permits)
        Check.holds_permits!(config.query.gate)

      {:refused, reason, request} ->
        refused(conn, reason, request, config, & &1)
    end
  end

  defp ask(conn, config) do
    Check.warn_once(config)
    decide(conn, config)
  catch
    kind, reason -> {:failed, {kind, reason, __STACKTRACE__}}
  end

  defp decide(conn, config) do
    if skips?(conn, config) do
      :skipped
    else
      request = request(conn, config.query)

      case Ask.admit(:run, config.query.gate, request) do
        {:ok, permits} -> {:admitted, permits, request}
        {:error, reason} -> {:refused, reason, request}
      end
    end
  end

  defp skips?(_conn, %{skip: nil}), do: false
  defp skips?(conn, %{skip: skip}), do: Query.call(skip, [conn])

  defp request(conn, %{key: :client} = query),
    do: Request.put!(Query.request(query, conn), :key, IP.key(conn.remote_ip))

  defp request(conn, query), do: Query.request(query, conn)

  defp put_quotas(conn, %{headers: false}, _request), do: conn
  defp put_quotas(conn, config, request), do: Quota.put(conn, Quota.all(config.query.gate, request))

  # The time of a refusal that is held back counts, so its figures are read after that.
  defp send_refusal(conn, reason, request, config) do
    held = Delay.sleep(config.refuse_after)
    Refusal.send(conn, Refusal.after_ms(reason, held), Quota.all(config.query.gate, request), config)
  end

  defp refused(conn, reason, _request, %{dry_run: true} = config, next) do
    Notice.once_a_minute({:dry_run, config.query.gate}, fn ->
      "the gate #{Options.show(config.query.gate)} would have refused a request with #{inspect(reason)}, but :dry_run is true. " <>
        "This is logged at most once a minute"
    end)

    next.(Conn.put_private(conn, @dry_run, reason))
  end

  defp refused(conn, reason, request, config, _next), do: send_refusal(conn, reason, request, config)
end
