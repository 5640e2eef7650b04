defmodule Penstock.Plug.Limit do
  @moduledoc """
  Asks limiters and bans in a pipeline of plugs.

      pipeline :api do
        plug :authenticate
        plug Penstock.Plug.Limit, gate: MyApp.Api, key: &MyAppWeb.Keys.user/1
      end

  In a pipeline, the request can have a key of its own, such as the user who has logged in. But no
  code runs after the plugs, so the gate must hold nothing: a `Penstock.RateLimiter`, a
  `Penstock.Ban`, or a `Penstock.Gate` of these. Put `Penstock.Plug` around the application for
  gates with permits.

  A limiter should be asked in one place of an application: each plug that asks it charges the
  request once more, and adds a member to the header fields.

  Takes the options of `Penstock.Plug` except `:timeout` and `:to`, and refuses as it does. The
  section on its options says why a function should have a name here.
  """

  alias Penstock.Plug.{Check, Config, Guard}

  @typedoc "The initialised options."
  @opaque t :: Config.t()

  @doc """
  Reads the options.

  Raises `ArgumentError` on an option that is missing, unknown or of the wrong kind, and if the gate
  is running and holds permits. If the gate is not running yet, as at compile time, requests
  raise.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.LimitedJobs, limit: 1)
      iex> Penstock.Plug.Limit.init(gate: MyApp.LimitedJobs)
      ** (ArgumentError) the gate MyApp.LimitedJobs of Penstock.Plug.Limit is or has a pool, whose permits a plug in a pipeline could not give back. Put Penstock.Plug around the whole application for it

  """
  @spec init(keyword) :: t
  def init(opts) do
    config = Config.read!(opts, [], "plug Penstock.Plug.Limit, gate: MyApp.Api")
    Check.holds_nothing!(config)
    config
  end

  @doc """
  Asks the gate. Returns the conn, or a halted conn with the refusal.
  """
  @spec call(map, t) :: map
  def call(conn, %Config{} = config), do: Guard.once(conn, config)
end
