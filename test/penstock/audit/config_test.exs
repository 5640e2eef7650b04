defmodule Penstock.Audit.ConfigTest do
  use ExUnit.Case, async: true

  alias Penstock.Audit.Config.Facts
  alias Penstock.Audit.ConfigFile
  alias Penstock.Audit.Rules

  @rules [
    Rules.ReleaseVMArgs,
    Rules.LowProcessLimit,
    Rules.ForeignServerOption,
    Rules.MultipliedLimit,
    Rules.ExcessiveLimit,
    Rules.UnlimitedHTTP2Streams,
    Rules.PlugAttackOptions,
    Rules.LongPolling
  ]

  @bandit_deps "defmodule M do\n  def project, do: [deps: [{:bandit, \"~> 1.0\"}]]\nend\n"
  @cowboy_deps "defmodule M do\n  def project, do: [deps: [{:plug_cowboy, \"~> 2.0\"}]]\nend\n"

  setup do
    directory = Path.join(System.tmp_dir!(), "penstock-config-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    {:ok, directory: directory}
  end

  defp load(directory, files) do
    for {path, text} <- files do
      path = Path.join(directory, path)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
    end

    ConfigFile.load([directory], directory |> Path.join("lib/**/*.ex") |> Path.wildcard())
  end

  defp findings(directory, files) do
    for file <- load(directory, files),
        rule <- @rules,
        finding <- rule.check_file(file),
        do: %{finding | file: Path.relative_to(finding.file, directory)}
  end

  defp found(directory, files),
    do: for(finding <- findings(directory, files), do: {finding.rule, finding.severity, finding.file, finding.line})

  defp endpoint(options), do: "import Config\n\nconfig :shop, ShopWeb.Endpoint, http: [#{options}]\n"
  defp facts(directory, files), do: directory |> load(files) |> hd() |> Map.fetch!(:facts)

  # Returns the text of the file of a finding with its rewrite.
  defp rewritten(text, %{rewrite: rewrite}) do
    lines = String.split(text, "\n")
    {before, rest} = Enum.split(lines, rewrite.from_line - 1)
    Enum.join(before ++ rewrite.lines ++ Enum.drop(rest, rewrite.to_line - rewrite.from_line + 1), "\n")
  end

  describe "the process limit" do
    test "is what +P says, rounded up, and else the default", %{directory: directory} do
      assert facts(directory, %{"mix.exs" => "1"}).process_limit == Facts.default()

      assert %{process_limit: 1_048_576, limit_set?: true} =
               facts(directory, %{"rel/vm.args.eex" => "# +P 5\n+P 1000000\n"})
    end

    test "is unknown if a template computes it, and nothing is said then", %{directory: directory} do
      files = %{
        "rel/vm.args.eex" => "+P <%= System.fetch_env!(\"MOST\") %>\n",
        "lib/app.ex" => "defmodule A do\n  def c, do: [{DynamicSupervisor, max_children: 90_000_000}]\nend\n"
      }

      assert %{process_limit: :unknown, limit_set?: true} = facts(directory, files)
      assert found(directory, files) == []
    end

    test "can be in a Dockerfile", %{directory: directory} do
      files = %{"mix.exs" => "1", "Dockerfile" => "ENV ELIXIR_ERL_OPTIONS=\"+P 4000000\"\n"}
      assert facts(directory, files).process_limit == 4_194_304
    end
  end

  describe "what is not understood is no finding" do
    test "numbers that code computes", %{directory: directory} do
      options = "transport_options: [max_connections: String.to_integer(most), num_acceptors: acceptors()]"
      assert found(directory, %{"mix.exs" => @cowboy_deps, "config/prod.exs" => endpoint(options)}) == []
    end

    test "options that code computes", %{directory: directory} do
      text = "import Config\n\nconfig :shop, ShopWeb.Endpoint, http: options\n"
      assert found(directory, %{"mix.exs" => @bandit_deps, "config/runtime.exs" => text}) == []

      assert found(directory, %{"mix.exs" => @bandit_deps, "config/runtime.exs" => endpoint("http_2_options: limits()")}) ==
               []
    end

    test "texts that do not parse, and bytes that are no text", %{directory: directory} do
      files = %{
        "mix.exs" => "defmodule (",
        "config/prod.exs" => <<0xFF, 0xFE, "config :a, B, http: [">>,
        "rel/vm.args" => <<0xFF, 0x00, ?\n, "+P">>,
        "Dockerfile" => <<0xFF>>,
        "lib/a.ex" => "Bandit \"\#{"
      }

      assert found(directory, files) == []
    end

    test "configuration for development and tests, and that no file imports", %{directory: directory} do
      for name <- ["dev.exs", "test.exs", "old.exs"] do
        File.rm_rf!(directory)
        assert found(directory, %{"mix.exs" => @cowboy_deps, "config/#{name}" => endpoint("max_connections: 5")}) == []
      end

      imported = %{"config/prod.exs" => "import Config\nimport_config \"old.exs\"\n"}
      assert [{"PS022", :high, "config/old.exs", 3}] = found(directory, imported)
    end
  end

  # Bandit 1.12 and Cowboy 2.20 with ranch 2.3 did so when these options were tried.
  describe "keys that a server does not have" do
    @refused [
      {@bandit_deps, "transport_options: []"},
      {@bandit_deps, "protocol_options: []"},
      {@bandit_deps, "max_connections: 1"},
      {@bandit_deps, "thousand_island_options: [max_connections: 1]"},
      {@bandit_deps, "thousand_island_options: [transport_options: [num_acceptors: 1]]"},
      {@bandit_deps, "http_2_options: [max_concurrent_streams: 1]"},
      {@cowboy_deps, "max_connections: 1"},
      {@cowboy_deps, "num_acceptors: 1"},
      {@cowboy_deps, "thousand_island_options: [num_connections: 1]"},
      {@cowboy_deps, "transport_options: [num_connections: 1]"},
      {@cowboy_deps, "transport_options: [socket_opts: [max_connections: 1]]"}
    ]

    for {deps, options} <- @refused do
      test "#{if deps =~ "bandit", do: "Bandit", else: "Cowboy"} does not start with #{options}", %{
        directory: directory
      } do
        files = %{"mix.exs" => unquote(deps), "config/prod.exs" => endpoint(unquote(options))}
        assert [finding] = for(%{rule: "PS022"} = finding <- findings(directory, files), do: finding)
        assert finding.severity == :high
        assert finding.message =~ "so the server does not start"
      end
    end

    test "Cowboy ignores a limit among the options of a protocol", %{directory: directory} do
      files = %{"mix.exs" => @cowboy_deps, "config/prod.exs" => endpoint("protocol_options: [max_connections: 1]")}
      assert [%{rule: "PS022", severity: :high, message: message}] = findings(directory, files)
      assert message =~ "it has no effect; it belongs into transport_options:"
    end

    test "Cowboy has its own", %{directory: directory} do
      options =
        "protocol_options: [idle_timeout: 5], transport_options: [num_acceptors: 2, socket_opts: [:inet6]], compress: true"

      assert found(directory, %{"mix.exs" => @cowboy_deps, "config/prod.exs" => endpoint(options)}) == []
    end
  end

  test "a setting of a later file wins", %{directory: directory} do
    files = %{
      "mix.exs" => @bandit_deps,
      "config/config.exs" => endpoint("http_2_options: [enabled: true]"),
      "config/runtime.exs" => endpoint("port: 80, http_2_options: [enabled: false]")
    }

    assert found(directory, files) == []
  end

  test "an explicit :infinity of streams is a finding", %{directory: directory} do
    options = "http_2_options: [default_local_settings: [max_concurrent_streams: :infinity]]"

    assert [{"PS025", :medium, _, 3}] =
             found(directory, %{"mix.exs" => @bandit_deps, "config/prod.exs" => endpoint(options)})
  end

  describe "rewrites" do
    test "give Bandit its own keys for those of Cowboy", %{directory: directory} do
      text =
        endpoint(
          "http_2_options: [enabled: false], transport_options: [num_acceptors: 50, max_connections: 10_000], port: 1"
        )

      [finding] = findings(directory, %{"mix.exs" => @bandit_deps, "config/prod.exs" => text})

      options = "thousand_island_options: [num_acceptors: 50, num_connections: 200], port: 1"
      assert rewritten(text, finding) == endpoint("http_2_options: [enabled: false], " <> options)
    end

    test "leave one supervisor of connections to ranch", %{directory: directory} do
      text = endpoint("transport_options: [max_connections: 500]")
      [%{rule: "PS023"} = finding] = findings(directory, %{"mix.exs" => @cowboy_deps, "config/prod.exs" => text})
      assert rewritten(text, finding) == endpoint("transport_options: [num_conns_sups: 1, max_connections: 500]")
      assert finding.message =~ "up to 50,000, since num_conns_sups is 100, the default"
    end

    test "divide the limit of Thousand Island", %{directory: directory} do
      text = endpoint("http_2_options: [enabled: false], thousand_island_options: [num_connections: 1_000]")
      [%{rule: "PS023"} = finding] = findings(directory, %{"mix.exs" => @bandit_deps, "config/prod.exs" => text})
      assert rewritten(text, finding) =~ "[num_connections: 10]]"
    end

    test "limit the streams in a line of their own", %{directory: directory} do
      text = "import Config\n\nconfig :shop, ShopWeb.Endpoint,\n  https: [\n    port: 443\n  ]\n"

      [%{rule: "PS025", severity: :high} = finding] =
        findings(directory, %{"mix.exs" => @bandit_deps, "config/prod.exs" => text})

      assert rewritten(text, finding) ==
               "import Config\n\nconfig :shop, ShopWeb.Endpoint,\n  https: [\n" <>
                 "    http_2_options: [default_local_settings: [max_concurrent_streams: 100]],\n    port: 443\n  ]\n"
    end
  end

  test "each rule has what a format needs" do
    for rule <- @rules do
      assert rule.id() =~ ~r/^PS0[23]\d$/
      assert rule.default_severity() in [:high, :medium, :low]
      assert String.length(rule.title()) in 10..60
      assert rule.why() =~ ~r/^[A-Z].*\.$/
    end

    assert length(Enum.uniq_by(@rules, & &1.id())) == length(@rules)
  end
end
