defmodule Penstock.Metrics.TextTest do
  # The exact text of each type, in both formats.
  use ExUnit.Case, async: true

  alias Penstock.Metrics.Text

  defp text(type, unit, value, format, labels \\ "") do
    name = if unit == "", do: "x", else: "x_#{unit}"
    family = %{name: name, type: type, unit: unit, help: "A \"b\" \\ c\nd."}
    IO.iodata_to_binary(Text.family(family, [{labels, value}], Text.edges([500, 1_000]), format))
  end

  test "a gauge" do
    assert text(:gauge, "bytes", 5, :prometheus, ~S(a="b")) == """
           # HELP penstock_x_bytes A "b" \\\\ c\\nd.
           # TYPE penstock_x_bytes gauge
           penstock_x_bytes{a="b"} 5
           """

    assert text(:gauge, "bytes", :infinity, :openmetrics, ~S(a="b")) == """
           # TYPE penstock_x_bytes gauge
           # UNIT penstock_x_bytes bytes
           # HELP penstock_x_bytes A \\"b\\" \\\\ c\\nd.
           penstock_x_bytes{a="b"} +Inf
           """
  end

  test "a counter has its suffix in all lines, but not in the metadata of OpenMetrics" do
    value = [{[{"reason", "full"}], 1}, {[{"reason", "\"\n"}], 2}]

    assert text(:counter, "", value, :prometheus, ~S(a="b")) =~ """
           # TYPE penstock_x_total counter
           penstock_x_total{a="b",reason="full"} 1
           penstock_x_total{a="b",reason="\\"\\n"} 2
           """

    assert text(:counter, "", value, :openmetrics) =~
             ~r/^# TYPE penstock_x counter\n# HELP penstock_x .*\npenstock_x_total{reason="full"} 1\n/
  end

  test "the buckets of a histogram add up" do
    assert text(:histogram, "seconds", {[2, 0, 3], 4_200}, :openmetrics, ~S(a="b")) =~ """
           penstock_x_seconds_bucket{a="b",le="0.5"} 2
           penstock_x_seconds_bucket{a="b",le="1.0"} 2
           penstock_x_seconds_bucket{a="b",le="+Inf"} 5
           penstock_x_seconds_sum{a="b"} 4.2
           penstock_x_seconds_count{a="b"} 5
           """
  end

  test "an info is a gauge in the text format" do
    family = %{name: "", type: :info, unit: "", help: "Text."}
    subjects = [{"", [{[{"version", "1"}], 1}]}]

    assert IO.iodata_to_binary(Text.family(family, subjects, [], :prometheus)) ==
             "# HELP penstock_info Text.\n# TYPE penstock_info gauge\npenstock_info{version=\"1\"} 1\n"

    assert IO.iodata_to_binary(Text.family(family, subjects, [], :openmetrics)) ==
             "# TYPE penstock info\n# HELP penstock Text.\npenstock_info{version=\"1\"} 1\n"
  end

  test "a family without a sample has no metadata" do
    assert text(:gauge, "", nil, :openmetrics) == ""
    assert text(:gauge, "", [], :prometheus) == ""
  end
end
