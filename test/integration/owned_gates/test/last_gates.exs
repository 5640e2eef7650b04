defmodule MyApp.LastModule do
  # Runs after all modules with `async: true`.
  use ExUnit.Case, async: false

  test "the application's gates were never asked, and no gate of a test is left" do
    for name <- [MyApp.Jobs, MyApp.Sessions, MyApp.Tasks] do
      assert %{acquired: 0, rejected: 0, peak: 0} = Penstock.Pool.info(name)
    end

    assert %{keys: 0, allowed: 0, denied: 0} = Penstock.RateLimiter.info(MyApp.Api)
    assert %{acquired: 0, rejected: 0} = Penstock.KeyedPool.info(MyApp.Uploads)
    assert Penstock.Ban.list(MyApp.LoginBans) == []
    assert %{admitted: 0, rejected: none} = Penstock.Gate.info(MyApp.Checkout)
    assert none == %{}
    assert :ets.tab2list(Penstock.Test.Ownership.Lookup) == []
    assert for(%{name: name} <- Penstock.list(), String.contains?(inspect(name), "test gate"), do: name) == []
  end
end
