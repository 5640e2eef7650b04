defmodule Penstock.DocumentsTest do
  # Runs each block of README.md, usage-rules.md, bench/README.md and the guides as it stands. Each
  # file runs in a VM of its own.
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO
  alias Penstock.{ChildVM, Documents}

  @files ["README.md", "usage-rules.md", "bench/README.md" | Path.wildcard("guides/*.{md,cheatmd,livemd}")]

  # How many blocks of a file need a library that is not here. Without PENSTOCK_EBIN, a run only parses them.
  @only_parsed %{
    "guides/phoenix.md" => 9,
    "guides/observability.md" => 3,
    "guides/mailboxes.md" => 2,
    "guides/migrating.md" => 5,
    "guides/testing.md" => 1
  }

  for file <- @files do
    @file_name file

    test "#{file}: each block does what it shows, and #{@only_parsed[file] || 0} need a library" do
      case ChildVM.run(Documents, :run, [@file_name]) do
        {:crashed, status, output} -> flunk("#{@file_name}: exit status #{status}\n#{output}")
        kinds -> assert Enum.sum(for {{_library, _kind}, count} <- kinds, do: count) == (@only_parsed[@file_name] || 0)
      end
    end
  end

  test "the documentation has each guide, and each public module in a group" do
    docs = Mix.Project.config()[:docs]
    assert Path.wildcard("guides/*.{md,cheatmd,livemd}") -- docs[:extras] == []
    grouped = for {_group, files} <- docs[:groups_for_extras], file <- files, do: file
    assert docs[:extras] -- grouped == ["README.md"]

    {:ok, modules} = :application.get_key(:penstock, :modules)

    # The modules of test/support and the Mix tasks have no group.
    public =
      for module <- modules,
          match?("Elixir.Penstock" <> _, "#{module}"),
          not ("#{module.module_info(:compile)[:source]}" =~ "/test/support/"),
          {:docs_v1, _, _, _, %{}, _, _} <- [Code.fetch_docs(module)],
          do: module

    grouped = for {_group, modules} <- docs[:groups_for_modules], module <- modules, do: module
    assert Enum.sort(public) == Enum.sort(grouped)
  end

  test "ex_doc knows each fence of the guides for a fence" do
    for file <- ["README.md", "usage-rules.md" | Path.wildcard("guides/*.{md,cheatmd,livemd}")] do
      assert Regex.scan(~r/^```\S+[ \t].*$/m, File.read!(file)) == [],
             "#{file}: write the words in a comment before the fence"
    end
  end

  @tag :tmp_dir
  test "a block that fails is named by file and line", %{tmp_dir: dir} do
    for {text, line, reason} <- [
          {"```elixir\n1 = 1\n```\n\n```elixir\n:ok = :ok\n:ok = :error\n```", 7, "no match of right hand side"},
          {"```elixir\nraise \"burst\"\n```", 2, "burst"},
          {"text\n\n```elixir\nundefined_function()\n```", 4, "undefined function"},
          {"```elixir\n1 +\n```", 2, ""},
          {"```elixir\niex> 1 + 1\n2\n\niex> 1 + 1\n3\n```", 5, "it returns 2"},
          {"<!-- children -->\n```elixir\n{Penstock.Pool, name: MyApp.Wrong}\n```", 3, ":limit"},
          {"<!-- deps -->\n```elixir\n{:other, \"~> 1.0\"}\n```", 3, ":penstock"},
          {"<!-- own_gates -->\n```elixir\n1 +\n```", 3, ""},
          {"```elixir\nIO.puts(\"one\")\n```\n\n<!-- printed -->\n```text\ntwo\n```", 2, "it prints\none"},
          {"```sh\nscript/test\nscript/missing\n```", 3, "there is no script/missing"},
          {"<!-- README.md -->\n```text\nno part of it\n```", 3, "this is no part of README.md"},
          {"```yaml\nfiles: deps/penstock/priv/missing.yml\n```", 2, "there is no priv/missing.yml"}
        ] do
      file = Path.join(dir, "document.md")
      File.write!(file, text)
      me = self()

      # Elixir 1.15 and later write the reason of a compile error to stderr, not into the
      # exception.
      logged =
        capture_io(:stderr, fn -> send(me, {:raised, assert_raise(RuntimeError, fn -> Documents.run(file) end)}) end)

      assert_received {:raised, error}
      assert error.message =~ "#{file}:#{line}: this block fails: "
      assert error.message <> logged =~ reason
    end
  end

  @tag :tmp_dir
  test "the setup cell of a notebook installs Penstock, and its other cells run", %{tmp_dir: dir} do
    file = Path.join(dir, "notebook.livemd")
    cell = "\n\n```elixir\n1 = 1\n```"
    File.write!(file, "# Notebook\n\n```elixir\nMix.install([{:penstock, \"~> 0.2\"}])\n```" <> cell)
    assert Documents.run(file) == %{setup: 1, elixir: 1}

    for setup <- ["Mix.install([{:other, \"~> 1.0\"}])", "IO.puts(1)", "Mix.install(["] do
      File.write!(file, "# Notebook\n\n```elixir\n#{setup}\n```" <> cell)
      assert_raise RuntimeError, ~r/notebook.livemd:4: this block fails/, fn -> Documents.run(file) end
    end
  end

  @tag :tmp_dir
  test "a picture that does not exist is named", %{tmp_dir: dir} do
    file = Path.join(dir, "document.md")
    File.write!(file, "![A chart](chart.png)\n\n```elixir\n1 = 1\n```")
    assert_raise RuntimeError, ~r/document.md: there is no picture chart.png/, fn -> Documents.run(file) end
  end

  @tag :tmp_dir
  test "a block of configuration sets the environment of its application", %{tmp_dir: dir} do
    file = Path.join(dir, "document.md")
    on_exit(fn -> Application.delete_env(:penstock_documents, :web) end)

    File.write!(file, """
    <!-- config -->
    ```elixir
    config :penstock_documents, :web, http: [port: 1, ip: :any]
    ```

    <!-- config -->
    ```elixir
    config :penstock_documents, :web, http: [port: 2]
    ```
    """)

    assert Documents.run(file) == %{config: 2}
    assert Application.get_env(:penstock_documents, :web) |> get_in([:http]) |> Enum.sort() == [ip: :any, port: 2]

    File.write!(file, "<!-- config -->\n```elixir\nconfig :penstock_documents, raise(\"burst\")\n```")
    assert_raise RuntimeError, ~r/document.md:3: this block fails: burst/, fn -> Documents.run(file) end
  end

  @tag :tmp_dir
  test "a block that needs Phoenix is parsed without it, and run with it", %{tmp_dir: dir} do
    file = Path.join(dir, "document.md")
    File.write!(file, "<!-- phoenix -->\n```elixir\ntrue = Code.ensure_loaded?(Phoenix.Endpoint)\n```")
    assert ChildVM.run(Documents, :run, [file]) == %{{:phoenix, :elixir} => 1}

    File.write!(file, "<!-- phoenix children -->\n```elixir\n[{\n```")
    assert {:crashed, 1, output} = ChildVM.run(Documents, :run, [file])
    assert output =~ ~r/document\.md:\d: this block fails/
  end

  test "a block that cannot be checked raises an error with its line" do
    for {text, line, reason} <- [
          {"<!-- skip -->\n```elixir\n1\n```", 2, "do not know how to check"},
          {"<!-- phoenix skip -->\n```elixir\n1\n```", 2, "do not know how to check"},
          {"text\n\n```\n1\n```", 3, "do not know how to check"},
          {"```sh\nmix test\n```\n\n<!-- printed -->\n```text\n1\n```", 6, "must be of elixir"},
          {"text\n\n    indented()\n", 3, "fence this block"},
          {"  * item\n\n    ```elixir\n    1\n    ```\n", 3, "fence this block"},
          {"text\n```elixir\n1\n", 2, "has no end"}
        ] do
      error = assert_raise RuntimeError, fn -> Documents.blocks(text, "document.md") end
      assert error.message =~ "document.md:#{line}: "
      assert error.message =~ reason
    end
  end

  @tag :tmp_dir
  test "a block that is followed by what it prints, and prints it, passes", %{tmp_dir: dir} do
    file = Path.join(dir, "document.md")

    File.write!(
      file,
      "```elixir\nn = 1\nIO.puts(\"one \\ntwo\")\n```\n\n<!-- printed -->\n```text\none\ntwo\n```\n```elixir\n1 = n\n```"
    )

    assert Documents.run(file) == %{printed: 1, elixir: 1}
  end

  test "blocks have their kind, code and line" do
    assert Documents.blocks("a\n```elixir\n1\n2\n```\n```sh\nmix test\n```\n```elixir\niex> 1\n1\n```", "d.md") == [
             %{kind: :elixir, code: "1\n2", line: 3},
             %{kind: :sh, code: "mix test", line: 7},
             %{kind: :iex, code: "iex> 1\n1", line: 10}
           ]
  end
end
