defmodule Penstock.Demo.CurvesTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Curves

  # bench/curves.exs writes this header.
  @header "curve,title,x,size,series,side,name,ns,low,high,ratio\n"

  @csv @header <>
         """
         keys,A hit,keys,1,ets,baseline,ETS <row>,200.000,190.000,210.000,1.000
         keys,A hit,keys,1,ours,ours,Ours,20.000,19.000,21.000,0.100
         keys,A hit,keys,100,ets,baseline,ETS <row>,2000.000,1900.000,2100.000,1.000
         keys,A hit,keys,100,ours,ours,Ours,63.246,19.000,21.000,0.031
         keys,A hit,keys,10000,ets,baseline,ETS <row>,20000.000,1900.000,2100.000,1.000
         keys,A hit,keys,10000,ours,ours,Ours,200.000,19.000,21.000,0.010
         gate,A gate,limits,1,ours,ours,Ours,10.000,9.000,11.000,1.000
         gate,A gate,limits,4,ours,ours,Ours,40.000,9.000,11.000,1.000
         """

  # The rounding of a place, twice.
  @tolerance 0.11

  test "there is a picture for each curve, which refers to no other file" do
    assert [{"curves-keys.svg", keys}, {"curves-gate.svg", gate}] = Curves.render(@csv)

    for picture <- [keys, gate] do
      assert picture =~ ~r{\A<svg xmlns="http://www.w3.org/2000/svg".*</svg>\n\z}s
      refute picture =~ ~r/url\(|@import|href/
    end

    assert keys =~ ~s(aria-label="A hit")
    assert keys =~ "ETS &lt;row&gt;"
    refute keys =~ "<row>"
  end

  test "each point is where its ticks say" do
    [{_, picture}, _] = Curves.render(@csv)
    size_of = scale(ticks(picture, "middle", "x"))
    time_of = scale(ticks(picture, "end", "y"))

    for {class, expected} <- [
          {"baseline-1", [{1, 200}, {100, 2_000}, {10_000, 20_000}]},
          {"ours-1", [{1, 20}, {100, 63.246}, {10_000, 200}]}
        ] do
      # The last circle is that of the legend.
      places = picture |> circles(class) |> Enum.drop(-1)
      assert length(places) == length(expected)

      for {{x, y}, {size, ns}} <- Enum.zip(places, expected) do
        assert_in_delta x, size_of.(size), @tolerance
        assert_in_delta y, time_of.(ns), @tolerance
      end

      # The line passes through the points.
      drawn = Enum.map_join(places, " ", fn {x, y} -> "#{x},#{y}" end)
      assert picture =~ ~s(<polyline class="curve #{class}" points="#{drawn}"/>)
    end
  end

  test "an axis of few sizes has a tick for each" do
    [_, {_, picture}] = Curves.render(@csv)
    assert [{1, left}, {4, right}] = ticks(picture, "middle", "x")
    assert [{^left, _}, {^right, _}, _legend] = circles(picture, "ours-1")
  end

  test "the pictures of the guide are drawn from the figures of the bench" do
    root = Path.expand("../../../..", __DIR__)

    for {file, picture} <- root |> Path.join("bench/curves.csv") |> File.read!() |> Curves.render() do
      assert File.read!(Path.join([root, "guides/assets", file])) == picture,
             "#{file} is of other figures: run script/curves --draw"
    end
  end

  # Returns the place of a value, by the first tick and the last one of a logarithmic axis.
  defp scale(ticks) do
    {first, from} = hd(ticks)
    {last, to} = List.last(ticks)
    fn value -> from + (to - from) * :math.log(value / first) / :math.log(last / first) end
  end

  @units %{"" => 1, " k" => 1_000, " M" => 1_000_000, " ns" => 1, " µs" => 1_000, " ms" => 1_000_000}

  # Returns the value and the place of each tick. The anchor of its text tells the axis.
  defp ticks(picture, anchor, coordinate) do
    for [_, place, value, unit] <-
          Regex.scan(
            ~r/<text class="tick" [^>]*#{coordinate}="([\d.]+)"[^>]* text-anchor="#{anchor}"[^>]*>(\d+)( ?\S*)</u,
            picture
          ),
        do: {String.to_integer(value) * Map.fetch!(@units, unit), elem(Float.parse(place), 0)}
  end

  defp circles(picture, class) do
    for [_, x, y] <- Regex.scan(~r/<circle class="#{class}" cx="([\d.]+)" cy="([\d.]+)"/, picture),
        do: {elem(Float.parse(x), 0), elem(Float.parse(y), 0)}
  end
end
