defmodule Penstock.Install.TreeTest do
  use ExUnit.Case, async: true

  alias Penstock.Install.Tree

  defp read(start) do
    text = """
    defmodule Shop.Application do
      use Application
      alias Shop.{Jobs, Mail}
      alias Penstock.Pool, as: Permits

    #{start}
    end
    """

    {:ok, tree} = Tree.read(text, "Shop.Application")
    tree
  end

  test "finds the list of the variable children, and of a call of Supervisor" do
    for {body, variable?, open} <- [
          {"children = [Shop.Repo]\nSupervisor.start_link(children, strategy: :one_for_one)", true, {7, 12}},
          {"children = [Shop.Repo] ++ more()\nSupervisor.start_link(children, [])", true, {7, 12}},
          {"Supervisor.start_link([Shop.Repo], strategy: :one_for_one)", false, {7, 23}},
          {"[Shop.Repo] |> Supervisor.start_link(strategy: :one_for_one)", false, {7, 1}},
          {"if true do\nchildren = []\nSupervisor.start_link(children, [])\nend", true, {8, 12}}
        ] do
      tree = read("def start(_type, _args) do\n#{body}\nend")
      assert tree.start_line == 6
      assert %{variable?: ^variable?, open: ^open} = tree.list
    end

    assert %{list: nil, start_line: 6} = read("def start(_type, _args), do: Supervisor.start_link(children(), [])")
    assert %{list: nil, start_line: nil} = read("def go, do: Supervisor.start_link([], [])")
    assert %{list: %{open: _}} = read("def start(type, _) when is_atom(type) do\nchildren = []\nchildren\nend")
  end

  test "the lines of a list are those of its brackets and of its first element" do
    empty = read("def start(_, _) do\nchildren = [\n# none\n]\nend").list
    assert {{7, 12}, nil, 9} == {empty.open, empty.first_line, empty.close_line}
    full = read("def start(_, _) do\nchildren = [\n\n{Shop.Repo,\n[a: 1]},\nShop.Web\n]\nend").list
    assert {{7, 12}, 9, 12} == {full.open, full.first_line, full.close_line}
  end

  test "names of children are read through aliases, with brackets or without" do
    tree =
      read("""
      def start(_, _) do
        children = [
          {Penstock.Pool, name: Shop.Orders, limit: 1},
          {Permits, [limit: 1, name: Jobs]},
          {Penstock.Gate, name: Mail.Out, limits: []},
          {Penstock.Pool, name: __MODULE__.Own, limit: 1},
          {Penstock.Pool, name: name(), limit: 1},
          {Registry, keys: :unique},
          Shop.Repo
        ]
      end

      defp more, do: [{Penstock.Pool, name: Shop.More, limit: 1}]
      """)

    assert [
             %{module: "Penstock.Pool", name: "Shop.Orders", line: 8},
             %{module: "Penstock.Pool", name: "Shop.Jobs", line: 9},
             %{module: "Penstock.Gate", name: "Shop.Mail.Out", line: 10},
             %{module: "Penstock.Pool", name: "Shop.Application.Own", line: 11},
             %{module: "Penstock.Pool", name: "Shop.More", line: 18}
           ] = tree.named
  end

  test "a nested module is found by its full name, and no other" do
    nested = "defmodule Shop do\ndefmodule Application do\ndef start(_, _), do: []\nend\nend"
    assert {:ok, %{start_line: 3}} = Tree.read(nested, "Shop.Application")
    assert :error = Tree.read(nested, "Application")
    assert :error = Tree.read("defmodule Shop.Application do", "Shop.Application")
    assert :error = Tree.read("", "Shop.Application")
    assert :error = Tree.read("defmodule unquote(name) do\nend", "Shop.Application")
  end

  test "the line of a function" do
    text = "defmodule Shop.MixProject do\n  def project, do: []\n\n  defp deps do\n    []\n  end\nend"
    assert Tree.line_of(text, :deps) == 4
    assert Tree.line_of(text, :application) == nil
    assert Tree.line_of("defmodule", :deps) == nil
  end
end
