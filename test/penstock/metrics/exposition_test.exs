defmodule Penstock.Metrics.ExpositionTest do
  # The parser by which the other tests judge metrics is strict: it takes the examples of the
  # specification, and refuses each kind of fault.
  use ExUnit.Case, async: true

  alias Penstock.Exposition

  @counter "# TYPE a counter\n# HELP a Text.\n"
  @histogram "# TYPE h_seconds histogram\n# UNIT h_seconds seconds\n# HELP h_seconds Text.\n"

  @valid """
  # TYPE acme_up gauge
  # HELP acme_up With \\n, \\" and \\\\.
  acme_up 1
  acme_up{path="a\\"b\\\\\\n,} 1"} -4.20072246e+06
  # TYPE acme_seconds counter
  # UNIT acme_seconds seconds
  # HELP acme_seconds Text.
  acme_seconds_total{a="",b="🐟"} 4.2
  # TYPE acme info
  # HELP acme Text.
  acme_info{version="1"} 1
  #{@histogram}h_seconds_bucket{le="0.5"} 0
  h_seconds_bucket{le="+Inf"} 2
  h_seconds_sum 7.5
  h_seconds_count 2
  # EOF
  """

  test "takes what is valid" do
    families = Exposition.parse!(@valid, :openmetrics)
    assert Map.keys(families) == ~w(acme acme_seconds acme_up h_seconds)
    assert families["acme_up"].help == "With \n, \" and \\."
    assert Exposition.value(families, "acme_up", %{"path" => "a\"b\\\n,} 1"}) == -4.20072246e6
    assert Exposition.parse!("# HELP a_total A \"quote\".\n# TYPE a_total counter\na_total +1\n", :prometheus)
  end

  for {fault, text} <- [
        {"no end", "#{@counter}a_total 1\n"},
        {"text after the end", "# EOF\n#{@counter}a_total 1\n"},
        {"no line feed at the end", "# EOF"},
        {"a carriage return", "#{@counter}a_total 1\r\n# EOF\n"},
        {"bytes that are not UTF-8", "#{@counter}a_total{b=\"\xFF\"} 1\n# EOF\n"},
        {"a comment", "# comment\n# EOF\n"},
        {"an empty line", "\n# EOF\n"},
        {"a sample without a family", "a_total 1\n# EOF\n"},
        {"a counter without its suffix", "#{@counter}a 1\n# EOF\n"},
        {"a counter family with the suffix", "# TYPE a_total counter\n# HELP a_total T.\na_total_total 1\n# EOF\n"},
        {"a counter below 0", "#{@counter}a_total -1\n# EOF\n"},
        {"no help", "# TYPE a counter\na_total 1\n# EOF\n"},
        {"metadata in another order", "# HELP a Text.\n# TYPE a counter\na_total 1\n# EOF\n"},
        {"metadata twice", "# TYPE a counter\n#{@counter}a_total 1\n# EOF\n"},
        {"a family twice", "#{@counter}a_total 1\n#{@counter}a_total{b=\"1\"} 1\n# EOF\n"},
        {"a series twice", "#{@counter}a_total 1\na_total 2\n# EOF\n"},
        {"a family without samples", "#{@counter}# EOF\n"},
        {"a unit that is not the end of the name", "# TYPE a gauge\n# UNIT a seconds\n# HELP a T.\na 1\n# EOF\n"},
        {"a type that is not known", "# TYPE a meter\n# HELP a T.\na 1\n# EOF\n"},
        {"a quote in a help", "# TYPE a gauge\n# HELP a \"T\".\na 1\n# EOF\n"},
        {"a label twice", "#{@counter}a_total{b=\"1\",b=\"2\"} 1\n# EOF\n"},
        {"a reserved label", "#{@counter}a_total{__b=\"1\"} 1\n# EOF\n"},
        {"no label in braces", "#{@counter}a_total{} 1\n# EOF\n"},
        {"a quote in a label", "#{@counter}a_total{b=\"1\"2\"} 1\n# EOF\n"},
        {"a line feed in a label", "#{@counter}a_total{b=\"1\n2\"} 1\n# EOF\n"},
        {"an unknown escape", "#{@counter}a_total{b=\"\\t\"} 1\n# EOF\n"},
        {"a space too many", "#{@counter}a_total  1\n# EOF\n"},
        {"no number", "#{@counter}a_total one\n# EOF\n"},
        {"an underscore in a number", "#{@counter}a_total 1_000\n# EOF\n"},
        {"names that clash", "#{@counter}a_total 1\n# TYPE a_created gauge\n# HELP a_created T.\na_created 1\n# EOF\n"},
        {"a gauge with the suffix of a counter", "# TYPE a_count gauge\n# HELP a_count T.\na_count 1\n# EOF\n"},
        {"an info that is not 1", "# TYPE a info\n# HELP a T.\na_info{b=\"1\"} 2\n# EOF\n"},
        {"buckets that fall",
         "#{@histogram}h_seconds_bucket{le=\"0.5\"} 3\nh_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 1\nh_seconds_count 2\n# EOF\n"},
        {"no bucket for all",
         "#{@histogram}h_seconds_bucket{le=\"0.5\"} 2\nh_seconds_sum 1\nh_seconds_count 2\n# EOF\n"},
        {"an edge that is no float",
         "#{@histogram}h_seconds_bucket{le=\"1\"} 2\nh_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 1\nh_seconds_count 2\n# EOF\n"},
        {"another count than the buckets",
         "#{@histogram}h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 1\nh_seconds_count 3\n# EOF\n"},
        {"a sum below 0", "#{@histogram}h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum -1\nh_seconds_count 2\n# EOF\n"}
      ] do
    test "refuses #{fault}" do
      assert_raise Exposition.Error, fn -> Exposition.parse!(unquote(text), :openmetrics) end
    end
  end

  for {fault, text} <- [
        {"the end of OpenMetrics", "# EOF\n"},
        {"a unit", "# UNIT a_total total\n# HELP a_total T.\n# TYPE a_total counter\na_total 1\n"},
        {"an escaped quote in a help", "# HELP a_total \\\"T\\\".\n# TYPE a_total counter\na_total 1\n"},
        {"a counter without its suffix", "# HELP a T.\n# TYPE a counter\na 1\n"},
        {"the type of an info", "# HELP a T.\n# TYPE a info\na_info 1\n"}
      ] do
    test "refuses #{fault} in the text format" do
      assert_raise Exposition.Error, fn -> Exposition.parse!(unquote(text), :prometheus) end
    end
  end
end
