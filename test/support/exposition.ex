defmodule Penstock.Exposition do
  # A strict parser of metrics: the text format 0.0.4 of Prometheus, and OpenMetrics 1.0. It is written
  # after the grammars of their specifications, and shares no code with Penstock. It refuses what a
  # reader would bear but the specification forbids.
  @moduledoc false

  defmodule Error do
    @moduledoc false
    defexception [:message]
  end

  @types %{
    prometheus: ~w(counter gauge histogram summary untyped),
    openmetrics: ~w(counter gauge histogram gaugehistogram stateset info summary unknown)
  }

  # The families that Penstock may use: for others, no rules are written below.
  @suffixes %{
    prometheus: %{"counter" => [""], "gauge" => [""], "histogram" => ["_bucket", "_sum", "_count"]},
    openmetrics: %{
      "counter" => ["_total", "_created"],
      "gauge" => [""],
      "info" => ["_info"],
      "histogram" => ["_bucket", "_sum", "_count", "_created"]
    }
  }

  @doc """
  Parses a text. Returns a map from the names of families to maps of `:type`, `:unit`, `:help` and `:samples`,
  a list of `{name, labels, value}` in order. Raises `Penstock.Exposition.Error` if the text is not valid.
  """
  def parse!(text, format) do
    text = IO.iodata_to_binary(text)
    check(String.valid?(text), "the text is not UTF-8")
    check(not String.contains?(text, "\r"), "a carriage return")
    check(text == "" or String.ends_with?(text, "\n"), "the last line does not end with a line feed")

    families = text |> lines(format) |> Enum.map(&line(&1, format)) |> families(format, [])
    names = Enum.map(families, &elem(&1, 0))
    check(names == Enum.uniq(names), "a family occurs twice: #{inspect(names -- Enum.uniq(names))}")
    for {_name, family} <- families, do: check_family(family, format)
    check_clashes(families, format)
    Map.new(families)
  end

  @doc "Returns the value of the only sample with this name and at least these labels; nil without one."
  def value(families, name, labels) do
    case for(
           {_family, %{samples: samples}} <- families,
           {^name, has, value} <- samples,
           subset?(labels, has),
           do: value
         ) do
      [] -> nil
      [value] -> value
    end
  end

  defp subset?(labels, has), do: Enum.all?(labels, fn {name, value} -> has[name] == value end)

  defp lines(text, :prometheus), do: text |> String.split("\n") |> Enum.drop(-1)

  defp lines(text, :openmetrics) do
    {lines, last} = text |> String.split("\n") |> Enum.drop(-1) |> Enum.split(-1)
    check(last == ["# EOF"], "the last line is not # EOF")
    lines
  end

  # One line.

  defp line("# HELP " <> rest, format) do
    {name, help} = name_and_rest(rest)
    {:help, name, unescape(help, if(format == :openmetrics, do: [?n, ?", ?\\], else: [?n, ?\\]))}
  end

  defp line("# TYPE " <> rest, format) do
    {name, type} = name_and_rest(rest)
    check(type in @types[format], "the type #{inspect(type)}")
    {:type, name, type}
  end

  defp line("# UNIT " <> rest, :openmetrics) do
    {name, unit} = name_and_rest(rest)
    check(unit =~ ~r/^[a-zA-Z0-9_:]*$/, "the unit #{inspect(unit)}")
    {:unit, name, unit}
  end

  defp line("#" <> _ = comment, _format), do: refuse("a comment: #{inspect(comment)}")
  defp line("", _format), do: refuse("an empty line")

  defp line(text, _format) do
    {name, rest} = name(text)

    {labels, rest} =
      case rest do
        "{" <> rest -> labels(rest, [])
        rest -> {[], rest}
      end

    names = Enum.map(labels, &elem(&1, 0))
    check(names == Enum.uniq(names), "a label occurs twice in #{inspect(text)}")
    # Penstock writes no time and no exemplar.
    " " <> number = rest
    {:sample, name, Map.new(labels), number(number)}
  rescue
    MatchError -> refuse("the sample #{inspect(text)}")
  end

  defp name(text) do
    case Regex.run(~r/^[a-zA-Z_:][a-zA-Z0-9_:]*/, text) do
      [name] -> {name, binary_part(text, byte_size(name), byte_size(text) - byte_size(name))}
      nil -> refuse("no name begins #{inspect(text)}")
    end
  end

  defp name_and_rest(text) do
    case name(text) do
      {name, " " <> rest} -> {name, rest}
      _other -> refuse("no text after the name in #{inspect(text)}")
    end
  end

  # A list of at least one label.
  defp labels(text, labels) do
    [label] = Regex.run(~r/^[a-zA-Z_][a-zA-Z0-9_]*/, text)
    check(not String.starts_with?(label, "_"), "the reserved label #{label}")
    "=\"" <> rest = String.replace_prefix(text, label, "")
    {value, rest} = string(rest, "")

    case rest do
      "," <> rest -> labels(rest, [{label, value} | labels])
      "}" <> rest -> {Enum.reverse([{label, value} | labels]), rest}
      other -> refuse("after a label: #{inspect(other)}")
    end
  end

  defp string("\"" <> rest, value), do: {value, rest}
  defp string("\\n" <> rest, value), do: string(rest, value <> "\n")
  defp string("\\\"" <> rest, value), do: string(rest, value <> "\"")
  defp string("\\\\" <> rest, value), do: string(rest, value <> "\\")
  defp string("\\" <> rest, _value), do: refuse("an unknown escape before #{inspect(rest)}")
  defp string(<<char::utf8, rest::binary>>, value), do: string(rest, <<value::binary, char::utf8>>)
  defp string("", _value), do: refuse("a string without an end")

  defp unescape(text, allowed) do
    bad = Regex.scan(~r/\\(.)|\\$/su, text) |> Enum.reject(&match?([_, <<char>>] when char in [?n, ?", ?\\], &1))
    check(bad == [], "an unknown escape in #{inspect(text)}")
    check(?" in allowed or not String.contains?(text, "\\\""), "an escaped quote in #{inspect(text)}")
    check(?" not in allowed or not (text =~ ~r/(?<!\\)(\\\\)*"/), "a quote in #{inspect(text)}")
    Regex.replace(~r/\\(.)/su, text, fn _all, char -> if char == "n", do: "\n", else: char end)
  end

  defp number("+Inf"), do: :infinity

  defp number(text) do
    cond do
      text =~ ~r/^[+-]?[0-9]+$/ -> String.to_integer(text)
      text =~ ~r/^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$/ -> text |> Float.parse() |> whole(text)
      true -> refuse("the number #{inspect(text)}")
    end
  end

  defp whole({number, ""}, _text), do: number
  defp whole(_other, text), do: refuse("the number #{inspect(text)}")

  # Groups lines to families. The lines of metadata open a family, and its samples follow.

  defp families([], _format, done), do: Enum.reverse(done)

  defp families([{kind, name, _text} | _] = lines, format, done) when kind in [:help, :type, :unit] do
    {metadata, rest} = Enum.split_while(lines, &match?({kind, ^name, _} when kind in [:help, :type, :unit], &1))
    kinds = Enum.map(metadata, &elem(&1, 0))
    order = if format == :openmetrics, do: [:type, :unit, :help], else: [:help, :type]
    check(kinds == Enum.filter(order, &(&1 in kinds)), "metadata of #{name} in the order #{inspect(kinds)}")
    check(:help in kinds and :type in kinds, "#{name} has no help or no type")
    values = Map.new(metadata, fn {kind, _name, value} -> {kind, value} end)
    suffixes = @suffixes[format][values.type] || refuse("no rules for the type #{values.type}")

    {samples, rest} =
      Enum.split_while(rest, fn line ->
        elem(line, 0) == :sample and elem(line, 1) in Enum.map(suffixes, &(name <> &1))
      end)

    check(samples != [], "#{name} has no sample")
    samples = for {:sample, name, labels, value} <- samples, do: {name, labels, value}
    family = Map.merge(%{name: name, unit: ""}, values) |> Map.put(:samples, samples)
    families(rest, format, [{name, family} | done])
  end

  defp families([sample | _], _format, _done),
    do: refuse("a sample that is not of the family before: #{inspect(sample)}")

  # One family.

  defp check_family(%{name: name, samples: samples} = family, format) do
    check(family.unit == "" or String.ends_with?(name, "_" <> family.unit), "#{name} does not end with its unit")
    check(String.trim(family.help) != "", "#{name} has no help")
    series = for {name, labels, _value} <- samples, do: {name, labels}
    check(series == Enum.uniq(series), "#{name} has a series twice: #{inspect(series -- Enum.uniq(series))}")
    check_type(family.type, family, format)
  end

  defp check_type("counter", %{name: name, samples: samples}, format) do
    check(format == :openmetrics or String.ends_with?(name, "_total"), "the counter #{name} lacks _total")
    check(format == :prometheus or not String.ends_with?(name, "_total"), "the counter family #{name} has _total")
    for {_name, _labels, value} <- samples, do: check(is_number(value) and value >= 0, "#{name} is #{inspect(value)}")
  end

  defp check_type("info", %{name: name, samples: samples, unit: unit}, _format) do
    check(unit == "", "the info #{name} has a unit")
    for {_name, _labels, value} <- samples, do: check(value == 1, "the info #{name} is #{inspect(value)}")
  end

  defp check_type("gauge", %{name: name}, _format) do
    check(not (name =~ ~r/_(total|count|sum|bucket|created)$/), "the gauge #{name} has the suffix of another type")
  end

  # The samples of one set of labels stand together.
  defp check_type("histogram", %{name: name, samples: samples}, _format) do
    groups = Enum.chunk_by(samples, fn {_name, labels, _value} -> Map.delete(labels, "le") end)
    sets = for [{_name, labels, _value} | _] <- groups, do: Map.delete(labels, "le")
    check(sets == Enum.uniq(sets), "the metrics of #{name} are interleaved")
    for group <- groups, do: check_histogram(name, group)
  end

  defp check_histogram(name, samples) do
    {buckets, rest} = Enum.split_while(samples, &(elem(&1, 0) == name <> "_bucket"))
    edges = for {_name, %{"le" => le}, _value} <- buckets, do: number(le)
    texts = for {_name, %{"le" => le}, _value} <- buckets, do: le
    counts = for {_name, _labels, value} <- buckets, do: value
    check(length(edges) == length(buckets), "a bucket of #{name} has no edge")
    # An atom is larger than a number.
    check(
      edges == Enum.sort(Enum.uniq(edges)) and List.last(edges) == :infinity,
      "the edges of #{name}: #{inspect(edges)}"
    )

    check(
      Enum.all?(texts, &(&1 == "+Inf" or String.contains?(&1, "."))),
      "the edges of #{name} are no floats: #{inspect(texts)}"
    )

    check(
      Enum.all?(counts, &is_integer/1) and counts == Enum.sort(counts),
      "the buckets of #{name}: #{inspect(counts)}"
    )

    [{sum_name, _, sum}, {count_name, _, count}] = rest
    check(sum_name == name <> "_sum" and is_number(sum) and sum >= 0, "the sum of #{name}: #{inspect(sum)}")
    check(count_name == name <> "_count" and count == List.last(counts), "the count of #{name}: #{inspect(count)}")
  end

  # No sample of a family may have a name that a sample of another one could have.
  defp check_clashes(families, format) do
    names =
      for {name, family} <- families, suffix <- Enum.uniq(["" | @suffixes[format][family.type]]), do: name <> suffix

    check(names == Enum.uniq(names), "names that clash: #{inspect(names -- Enum.uniq(names))}")
  end

  defp check(true, _message), do: :ok
  defp check(false, message), do: refuse(message)

  defp refuse(message), do: raise(Error, message)
end
