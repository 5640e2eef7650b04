defmodule Penstock.Audit.RoutesTest do
  use ExUnit.Case, async: true

  alias Penstock.Audit.{Routes, Scope}

  defp routes(text), do: text |> Code.string_to_quoted!() |> Routes.of(%Scope{module: Router})

  test "modules of scopes have the aliases of all scopes around them" do
    assert routes("""
           scope "/", Web do
             get "/a", A, :show
             scope path: "/b", alias: Inner do
               get "/b", B, :show
             end
             scope "/c", alias: false do
               get "/c", C, :show
             end
           end
           """) == {[], [C, Web.Inner.B, Web.A]}
  end

  # The audit crashed at such an alias.
  test "an alias may be an expression" do
    for expression <- ["@web", "__MODULE__", "unquote(web)", "web()", "nil", "Module.concat(Web, A)"] do
      text = "scope \"/a\", alias: #{expression} do\n  get \"/a\", A, :show\nend"
      assert {[], [_module]} = routes(text)
    end
  end

  test "scopes, paths and pipelines of administrators" do
    for text <- ["scope \"/admin\", Web", "scope \"/\", Web.SuperAdmin", "scope \"/\", Web, as: :staff"] do
      assert {[_module], []} = routes("#{text} do\n  get \"/a\", A, :show\nend")
    end

    assert routes(~s(get "/open", Open, :show\npipe_through [:browser, :require_admin]\nget "/a", A, :show)) ==
             {[A], [Open]}

    for path <- ["/badminton", "/staffing", "/cooperators", "/international"] do
      assert routes(~s[get "#{path}", A, :show]) == {[], [A]}
      assert routes(~s[scope "#{path}" do\n  get "/", A, :show\nend]) == {[], [A]}
    end
  end

  test "branches that production does not take" do
    branches = fn condition -> routes("#{condition} do\n  get \"/a\", A, :show\nelse\n  get \"/b\", B, :show\nend") end

    for condition <- [
          "if Mix.env() == :dev",
          "if Mix.env() != :prod",
          "if Mix.env() in [:dev, :test]",
          "unless Mix.env() == :prod",
          "if Application.compile_env(:app, :dev_routes)"
        ],
        do: assert(branches.(condition) == {[A], [B]})

    for condition <- ["if Mix.env() == :prod", "if Mix.env() != :test", "unless Mix.env() in [:dev, :test]"],
        do: assert(branches.(condition) == {[B], [A]})
  end
end
