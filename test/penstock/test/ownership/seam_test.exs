defmodule Penstock.Test.Ownership.SeamTest do
  # The library's own tests run without own gates, as production does. test/integration/owned_gates
  # has the tests with them.
  use ExUnit.Case, async: true

  alias Penstock.Test.Ownership.{Lookup, Seam, Server}

  test "without the line of configuration, no code of Penstock knows own gates" do
    refute Seam.on?()
    {:ok, modules} = :application.get_key(:penstock, :modules)
    assert Penstock in modules and Penstock.Pool in modules and Penstock.Edge.Ask in modules

    callers =
      for module <- modules,
          not String.starts_with?(inspect(module), "Penstock.Test"),
          {called, function, arity} <- imports(module),
          String.starts_with?(inspect(called), "Penstock.Test."),
          do: {module, {called, function, arity}}

    assert callers == []
    # So that this test can fail: the same question, about a module that does call the table.
    assert {Lookup, :gate, 1} in imports(Penstock.Test.Ownership.OwnedGates)
  end

  # The functions of other modules that the compiled code of a module calls.
  defp imports(module) do
    {:ok, {^module, [imports: imports]}} = :beam_lib.chunks(:code.which(module), [:imports])
    imports
  end

  test "without the line of configuration, nothing runs and no function is wrapped" do
    assert Process.whereis(Server) == nil
    assert :ets.whereis(Lookup) == :undefined

    for module <- [
          Penstock,
          Penstock.Pool,
          Penstock.KeyedPool,
          Penstock.RateLimiter,
          Penstock.Ban,
          Penstock.Gate,
          Penstock.Task
        ],
        {function, _arity} <- locals(module) do
      refute Atom.to_string(function) =~ "overridable"
    end
  end

  defp locals(module) do
    {:ok, {^module, [locals: locals]}} = :beam_lib.chunks(:code.which(module), [:locals])
    locals
  end

  test "the functions of own gates say which line is missing, and where" do
    for call <- [fn -> Penstock.Test.own(MyApp.Jobs) end, fn -> Penstock.Test.own(MyApp.Jobs, limit: 1) end] do
      error = assert_raise RuntimeError, call
      assert error.message =~ "Penstock.Test.own/2 needs Penstock to be compiled"
      assert error.message =~ "config/test.exs"
      assert error.message =~ "\n    config :penstock, test_gates: true\n"
      assert error.message =~ "mix deps.compile penstock --force"
    end

    assert_raise RuntimeError, ~r"allow/2 needs", fn -> Penstock.Test.allow(MyApp.Jobs, self()) end
    assert_raise RuntimeError, ~r"advance/1 needs", fn -> Penstock.Test.advance(1) end
  end
end
