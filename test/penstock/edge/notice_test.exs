defmodule Penstock.Edge.NoticeTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Penstock.Edge.{Notice, Table}

  defp notices(subject, text, callers) do
    log =
      capture_log(fn ->
        for _ <- 1..callers do
          Task.async(fn -> Notice.once_a_minute(subject, fn -> text end) end)
        end
        |> Task.await_many()
      end)

    length(String.split(log, text)) - 1
  end

  test "logs one warning, of any number of callers at the same time" do
    subject = make_ref()
    assert notices(subject, inspect(subject), 100) == 1
    assert notices(subject, inspect(subject), 100) == 0
  end

  test "logs one more warning after a minute" do
    subject = make_ref()
    assert notices(subject, inspect(subject), 1) == 1

    :ets.update_element(
      Table,
      {Notice, :erlang.phash2(subject, 0x1_0000_0000)},
      {2, System.monotonic_time(:millisecond) - 60_000}
    )

    assert notices(subject, inspect(subject), 100) == 1

    :ets.update_element(
      Table,
      {Notice, :erlang.phash2(subject, 0x1_0000_0000)},
      {2, System.monotonic_time(:millisecond) - 59_000}
    )

    assert notices(subject, inspect(subject), 100) == 0
  end

  test "takes any term as a subject, also one with maps and match variables in it" do
    for subject <- [{:closed, Penstock.Pool.new(limit: 1)}, {:closed, :_}, {:closed, :"$1"}, %{a: make_ref()}] do
      text = "notice #{System.unique_integer([:positive])}"
      assert notices(subject, text, 10) == 1
      minute_ago = System.monotonic_time(:millisecond) - 60_000
      :ets.update_element(Table, {Notice, :erlang.phash2(subject, 0x1_0000_0000)}, {2, minute_ago})
      assert notices(subject, text, 10) == 1
    end
  end

  test "keeps subjects apart" do
    {first, second} = {make_ref(), make_ref()}
    assert notices(first, inspect(first), 1) == 1
    assert notices(second, inspect(second), 1) == 1
  end
end
