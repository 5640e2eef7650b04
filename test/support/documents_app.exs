# Defines the modules and functions of `MyApp` that the blocks of README.md and the guides call.

defmodule MyApp.Session do
  use Agent
  def start_link(user), do: Agent.start_link(fn -> user end)
end

defmodule MyApp.Importer do
  use Agent
  def start_link(files), do: Agent.start_link(fn -> files end)
end

defmodule MyApp.Partner do
  def call(_request), do: :done
end

defmodule MyApp.Accounts do
  def authenticate("ann", "right"), do: {:ok, %{id: 1}}
  def authenticate(_name, _password), do: :error
end

defmodule MyApp.Plain do
  def init(opts), do: opts
  def call(conn, _opts), do: conn
end

defmodule MyApp.Documented do
  def binding do
    [
      urls: for(n <- 1..40, do: "https://example.com/#{n}"),
      user: %{id: 1},
      conn: %{remote_ip: {192, 0, 2, 1}},
      request: :request,
      requests: [:first, :second],
      message: %{from: {192, 0, 2, 2}},
      params: %{password: "guess"},
      report: :report,
      key: :key,
      tree: {:node, [{:node, []}, {:node, [{:node, []}]}]},
      address: "Main Street 1"
    ]
  end

  def fetch(url), do: String.length(url)
  def handle(value), do: {:handled, value}
  def too_many_requests(_conn, ms), do: too_many_requests(ms)
  def too_many_requests(ms) when is_integer(ms), do: {429, ms}
  def render(report), do: {:rendered, report}
  def warm_cache(key), do: key
  def locate(address), do: {:located, address}
  def query(n), do: n
  def authenticate(%{password: "right"}), do: {:ok, %{id: 1}}
  def authenticate(_params), do: :error
  def welcome(user), do: {:welcome, user}
  def try_again, do: :try_again
end
