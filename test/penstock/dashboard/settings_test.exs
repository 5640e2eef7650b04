defmodule Penstock.Dashboard.SettingsTest do
  use ExUnit.Case, async: true

  alias Penstock.Dashboard.{Router, Settings}

  # A kill cuts a response off, so it must be for what hangs only.
  test "a connection ends in order before it is killed, at any number of requests" do
    {nil, %{bounds: bounds}} = Settings.read!([])
    last_request = bounds.idle_ms + bounds.head_ms + Router.longest_trace_ms() + bounds.send_ms + bounds.linger_ms
    assert bounds.keep_ms + last_request < bounds.connection_ms
  end
end
