defmodule Penstock.Demo.Web.HttpTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Web.Http

  doctest Http

  test "a request has its length before its body" do
    assert [head, body] = "hello" |> Http.request() |> IO.iodata_to_binary() |> String.split("\r\n\r\n")
    assert head =~ ~r/^POST \/ HTTP\/1\.1\r\n/
    assert head =~ ~r/\r\ncontent-length: 5$/
    assert body == "hello"
  end
end
