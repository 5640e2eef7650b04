defmodule Penstock.Telemetry do
  @moduledoc false
  @type kind :: :pool | :keyed_pool | :rate_limiter | :ban | :gate
end
