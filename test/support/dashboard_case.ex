defmodule Penstock.DashboardCase do
  # Dashboards for tests, and requests to them.
  @moduledoc false
  use ExUnit.CaseTemplate

  alias Penstock.{Dashboard, HTTPClient, JSONReader}
  alias Penstock.Dashboard.Acceptor

  using do
    quote do
      use Penstock.PoolCase
      import Penstock.DashboardCase
      alias Penstock.{Dashboard, HTTPClient}
    end
  end

  @doc "Starts a dashboard that ends with the test. Returns its pid and its port."
  def start_dashboard(opts \\ []) do
    opts = Keyword.put_new(opts, :port, 0)
    pid = ExUnit.Callbacks.start_supervised!(%{Dashboard.child_spec(opts) | id: make_ref()})
    {pid, Dashboard.port(pid)}
  end

  @doc "Returns what the processes of a dashboard share."
  def context(dashboard) do
    {:ok, %{start: {_module, _function, [context]}}} = :supervisor.get_childspec(dashboard, Acceptor)
    context
  end

  @doc "Returns the pid of a process below the dashboard."
  def child(dashboard, id) do
    dashboard |> Supervisor.which_children() |> List.keyfind!(id, 0) |> elem(1)
  end

  @doc "Returns the status and the term of an answer in JSON."
  def get_json!(port, path, opts \\ []) do
    {status, headers, body} = HTTPClient.request!(port, path, opts)
    {_name, "application/json; charset=utf-8"} = List.keyfind!(headers, "content-type", 0)
    {status, JSONReader.decode!(body)}
  end

  @doc "Sends bytes over a connection of its own. Returns all that comes back until it is closed."
  def send_raw(port, bytes) do
    socket = HTTPClient.connect!(port)
    _ = :gen_tcp.send(socket, bytes)
    answer = receive_all(socket, "")
    :gen_tcp.close(socket)
    answer
  end

  @doc "Returns all that comes over a connection until it is closed."
  def receive_all(socket, done \\ "") do
    case :gen_tcp.recv(socket, 0, 30_000) do
      {:ok, data} -> receive_all(socket, done <> data)
      {:error, reason} when reason in [:closed, :econnreset] -> done
    end
  end

  @doc "Returns the status of a raw answer; nil if there is none."
  def status("HTTP/1.1 " <> <<status::binary-size(3), " ", _rest::binary>>), do: String.to_integer(status)
  def status(""), do: nil
end
