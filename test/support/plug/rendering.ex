defmodule Penstock.Rendering do
  # Wraps `call/2` at the end of a module, as Phoenix and Plug.ErrorHandler do: an error of the
  # application is rendered, and raised again.
  @moduledoc false

  @compile {:no_warn_undefined, Plug.Conn}

  defmacro __using__(_opts) do
    quote do
      def init(opts), do: opts
      def call(conn, opts), do: serve(conn, opts)
      defoverridable init: 1, call: 2
      @before_compile Penstock.Rendering
    end
  end

  defmacro __before_compile__(_env) do
    quote do
      defoverridable call: 2

      def call(conn, opts) do
        super(conn, opts)
      catch
        kind, reason ->
          stack = __STACKTRACE__
          render(conn, kind, reason)
          :erlang.raise(kind, reason, stack)
      end
    end
  end
end
