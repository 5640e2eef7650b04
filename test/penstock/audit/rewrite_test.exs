defmodule Penstock.Audit.RewriteTest do
  use ExUnit.Case, async: true

  import Penstock.AuditSources

  alias Penstock.Audit.Rewrite

  defp line(text, from, to), do: changed(Rewrite.line({text}, 1, from, to))
  defp append(text, start, addition), do: changed(Rewrite.append({text}, 1, start, addition))
  defp changed(rewrite), do: rewrite && rewrite.lines

  test "a call becomes that of another module" do
    assert line("x = spawn(fun)", "spawn(", "Penstock.spawn(Jobs, ") == ["x = Penstock.spawn(Jobs, fun)"]
    assert line("spawn(spawn(fun))", "spawn(", "Penstock.spawn(Jobs, ") == nil
  end

  test "a call of a module, or a part of a longer name, is not changed" do
    for text <- ["Kernel.spawn(fun)", ":erlang.spawn(fun)", "my_spawn(fun)"],
        do: assert(line(text, "spawn(", "Penstock.spawn(Jobs, ") == nil)

    assert line("My.Task.start(fun)", "Task.start(", "Penstock.Task.start(Jobs, ") == nil

    assert line(":erlang.list_to_atom(x)", "list_to_atom(", "list_to_existing_atom(") == [
             ":erlang.list_to_existing_atom(x)"
           ]
  end

  test "a call behind a pipe gets no first argument" do
    for text <- ["fun |> Task.start()", "fun |> Task.start(:f, [])", "  |> Task.start()", "Task.start("],
        do: assert(line(text, "Task.start(", "Penstock.Task.start(Jobs, ") == nil)

    assert line("x |> String.to_atom()", "String.to_atom(", "String.to_existing_atom(") == [
             "x |> String.to_existing_atom()"
           ]
  end

  test "an option goes into the brackets that options have" do
    for {text, expected} <- [
          {"{S, name: A}", "{S, name: A, max: 1}"},
          {"{S, [name: A]}, b", "{S, [name: A, max: 1]}, b"},
          {"{S, []}", "{S, [max: 1]}"},
          {"{S, [a: 1] ++ [b: f(2)]}", "{S, [a: 1] ++ [b: f(2), max: 1]}"}
        ],
        do: assert(append(text, "{S, ", "max: 1") == [expected])

    assert append("S.init()", "S.init(", "max: 1") == ["S.init(max: 1)"]
    assert append("S.init([])", "S.init(", "max: 1") == ["S.init([max: 1])"]
    assert append("binary_to_term(hd([x]))", "binary_to_term(", "[:safe]") == ["binary_to_term(hd([x]), [:safe])"]
    assert append("binary_to_term([x])", "binary_to_term(", "[:safe]") == ["binary_to_term([x], [:safe])"]
  end

  test "a bracket in a text, and a second call in the line, are not understood" do
    assert append(~S|f(g(x, ")", 1))|, "f(", "[:safe]") == nil
    assert append("f(g(x, ?), 1))", "f(", "[:safe]") == nil
    assert append("f(x) + f(y)", "f(", "[:safe]") == nil
  end

  test "a comment in the lines of an expression is kept" do
    each = fn comment ->
      module("""
        def all(items) do
          Enum.each(items, fn item ->
            #{comment}
            Task.start(fn -> "\#{item}" end)
          end)
        end
      """)
    end

    assert [%{rewrite: %{from_line: 5, to_line: 5}}] = findings(each.("# not too many"))
    assert [%{rewrite: %{from_line: 3, to_line: 6}}] = findings(each.(""))
  end
end
