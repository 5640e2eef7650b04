# Stands for the libraries that the cases and twins use, so that they compile without them.
defmodule Plug.Conn do
  @moduledoc false
  defstruct assigns: %{}, params: %{}, status: nil, req_headers: [], host: nil, request_path: "/", resp_body: nil

  def assign(conn, key, value), do: %{conn | assigns: Map.put(conn.assigns, key, value)}
  def put_status(conn, status), do: %{conn | status: status}
  def send_resp(conn, status, body), do: %{conn | status: status, resp_body: body}
  def get_req_header(conn, name), do: for({^name, value} <- conn.req_headers, do: value)
  def put_resp_header(conn, name, value), do: %{conn | req_headers: [{name, value} | conn.req_headers]}
  def read_body(conn, _opts \\ []), do: {:ok, "", conn}
  def fetch_query_params(conn), do: conn
  def register_before_send(conn, fun), do: fun.(conn)
  def halt(conn), do: conn
end

defmodule Plug do
  @moduledoc false
  @callback init(term) :: term
  @callback call(%Plug.Conn{}, term) :: %Plug.Conn{}
end

defmodule Plug.Builder do
  @moduledoc false
  defmacro __using__(_opts) do
    quote do
      @behaviour Plug
      import Plug.Conn
      import Plug.Builder
      def init(opts), do: opts
      def call(conn, _opts), do: conn
      defoverridable init: 1, call: 2
    end
  end

  defmacro plug(_plug, _opts \\ []), do: nil
end

defmodule Plug.Router do
  @moduledoc false
  defmacro __using__(_opts) do
    quote do
      use Plug.Builder
      import Plug.Router
    end
  end

  for method <- [:get, :post, :put, :delete] do
    defmacro unquote(method)(path, do: body), do: route(unquote(method), path, body)
  end

  defmacro match(path, do: body), do: route(:match, path, body)

  defp route(method, path, body) do
    quote do
      def unquote(:"#{method} #{Macro.to_string(path)}")(var!(conn), _opts) do
        _ = var!(conn)
        unquote(body)
      end
    end
  end
end

defmodule Phoenix.Controller do
  @moduledoc false
  defmacro __using__(_opts) do
    quote do
      import Plug.Conn
      import Phoenix.Controller
    end
  end

  defmacro plug(_plug, _opts \\ []), do: nil
  defmacro action_fallback(_module), do: nil
  def json(conn, data), do: %{conn | resp_body: data}
  def text(conn, data), do: %{conn | resp_body: data}
  def render(conn, _template, _assigns \\ []), do: conn
  def redirect(conn, _opts), do: conn
  def put_flash(conn, _kind, _text), do: conn
end

defmodule Phoenix.Router do
  @moduledoc false
  defmacro __using__(_opts), do: quote(do: import(Phoenix.Router))
  defmacro scope(_path, _module, _block), do: nil
  defmacro pipe_through(_pipelines), do: nil
  defmacro post(_path, _controller, _action), do: nil
end

defmodule Phoenix.Socket do
  @moduledoc false
  defstruct assigns: %{}, topic: nil

  defmacro __using__(_opts) do
    quote do
      import Phoenix.Socket
    end
  end

  defmacro channel(_topic, _module), do: nil
  def assign(socket, key, value), do: %{socket | assigns: Map.put(socket.assigns, key, value)}
end

defmodule Phoenix.Channel do
  @moduledoc false
  defmacro __using__(_opts) do
    quote do
      import Phoenix.Channel
      import Phoenix.Socket, only: [assign: 3]
    end
  end

  def push(_socket, _event, _payload), do: :ok
  def broadcast!(_socket, _event, _payload), do: :ok
  def reply(_ref, _payload), do: :ok
  def socket_ref(_socket), do: make_ref()
end

defmodule Phoenix.LiveView do
  @moduledoc false
  defmacro __using__(_opts) do
    quote do
      import Phoenix.LiveView
    end
  end

  def assign(socket, key, value), do: %{socket | assigns: Map.put(socket.assigns, key, value)}
  def assign(socket, pairs), do: %{socket | assigns: Map.merge(socket.assigns, Map.new(pairs))}
  def connected?(_socket), do: true
end

defmodule Phoenix.PubSub do
  @moduledoc false
  def subscribe(_server, _topic), do: :ok
  def broadcast(_server, _topic, _message), do: :ok
end

defmodule ShopWeb do
  @moduledoc false
  defmacro __using__(which), do: apply(__MODULE__, which, [])

  def controller, do: quote(do: use(Phoenix.Controller))
  def channel, do: quote(do: use(Phoenix.Channel))
  def live_view, do: quote(do: use(Phoenix.LiveView))
  def router, do: quote(do: use(Plug.Router))
end

defmodule Broadway do
  @moduledoc false
  defmacro __using__(_opts), do: nil
  def start_link(_module, _opts), do: :ignore
end

defmodule Broadway.Message do
  @moduledoc false
  defstruct data: nil
  def update_data(message, fun), do: %{message | data: fun.(message.data)}
end

defmodule GenStage do
  @moduledoc false
  defmacro __using__(_opts), do: nil
  def start_link(_module, _args, _opts \\ []), do: :ignore
end

defmodule WebSockex do
  @moduledoc false
  defmacro __using__(_opts), do: nil
end

defmodule Tortoise.Handler do
  @moduledoc false
  defmacro __using__(_opts), do: nil
end

defmodule Nostrum.Consumer do
  @moduledoc false
  defmacro __using__(_opts), do: nil
end

defmodule Oban.Worker do
  @moduledoc false
  defmacro __using__(_opts) do
    quote do
      def new(args), do: args
    end
  end
end

defmodule Oban.Job do
  @moduledoc false
  defstruct args: %{}
end

defmodule Jason do
  @moduledoc false
  def decode(text, _opts \\ []), do: {:ok, text}
  def decode!(text, _opts \\ []), do: text
  def encode!(term, _opts \\ []), do: inspect(term)
end

defmodule Req do
  @moduledoc false
  def get(url), do: {:ok, %{body: url}}
  def get!(url), do: %{body: url}
  def post(url, _opts), do: {:ok, %{body: url}}
  def post!(url, _opts), do: %{body: url}
end

defmodule Shop.Repo do
  @moduledoc false
  def all(_query), do: []
  def get(_schema, _id), do: nil
  def insert(row), do: {:ok, row}
  def insert!(row), do: row
  def update!(row), do: row
end

defmodule Ecto.Query do
  @moduledoc false
  defmacro from(_source, _clauses), do: nil
  defmacro where(query, _names, _condition), do: query
  defmacro select(query, _names, _value), do: query
end
