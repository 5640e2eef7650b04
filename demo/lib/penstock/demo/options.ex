defmodule Penstock.Demo.Options do
  @moduledoc false

  # The command line of `script/demo`.

  alias Penstock.Demo.Attack

  @switches [html: :string, csv: :string, only: :string, help: :boolean]
  @default_html "demo.html"

  @enforce_keys [:attacks, :html]
  defstruct [:attacks, :html, :csv]

  @type t :: %__MODULE__{attacks: [module()], html: Path.t(), csv: Path.t() | nil}

  @doc "Parses `argv`. The text of an error is for the user."
  @spec parse([String.t()]) :: {:ok, t()} | :help | {:error, String.t()}
  def parse(argv) do
    with {:ok, opts} <- split(argv),
         false <- opts[:help] == true && :help,
         {:ok, attacks} <- attacks(opts[:only]),
         {:ok, html} <- file(:html, Keyword.get(opts, :html, @default_html)),
         {:ok, csv} <- file(:csv, opts[:csv]) do
      {:ok, %__MODULE__{attacks: attacks, html: html, csv: csv}}
    end
  end

  @doc "Returns the text for `--help`."
  @spec help() :: String.t()
  def help do
    """
    Attacks a small VM, first without Penstock and then with it, and compares both.

    usage: script/demo [--only a,b] [--html FILE] [--csv FILE]

      --only a,b   the attacks to run; all of them by default
      --html FILE  the page to write; #{@default_html} by default
      --csv FILE   the file for the figures, a row per attack and mode; none by default
      --help       this text

    Each attack runs in a fresh VM that may have 32,768 processes, while an innocent
    GenServer in it is pinged every millisecond. The attacks:

    #{Enum.map_join(Attack.all(), "\n", &"  #{String.pad_trailing(&1.id(), 3)} #{&1.title()}")}

    Attack (j) needs cowboy on Erlang's code path, and Linux; elsewhere it is skipped.
    The status is 1 if a guarded run breaks a promise: the VM survives, the pool's limit
    bounds the processes apart from the VM's own, the mailbox's limit bounds the messages that
    wait, all offered work is done or refused, and innocent clients are answered.
    """
  end

  defp split(argv) do
    case OptionParser.parse(argv, strict: @switches) do
      {opts, [], []} ->
        {:ok, opts}

      {_opts, _rest, [{name, value} | _]} ->
        {:error, invalid(argv, name, value)}

      {_opts, [argument | _], []} ->
        {:error, "unexpected argument: #{inspect(argument)}; #{known()}"}
    end
  end

  # The value is nil if a known option lacks its value, or if the option is unknown. OptionParser
  # has dropped the value of an unknown option. So the message shows the argument as the user
  # wrote it.
  defp invalid(argv, name, nil) do
    if name in names() do
      "expected #{name} to have a value, got none"
    else
      written = Enum.find(argv, name, &String.starts_with?(&1, name))
      "unknown option: #{written}; #{known()}"
    end
  end

  defp invalid(_argv, name, value), do: "unknown option: #{name} #{value}; #{known()}"

  defp known, do: "known options are #{Enum.join(names(), ", ")}"

  defp names, do: for({name, _type} <- @switches, do: "--#{name}")

  defp attacks(nil), do: {:ok, Attack.all()}

  defp attacks(only) do
    ids = only |> String.split(",", trim: true) |> Enum.map(&String.trim/1) |> Enum.uniq()

    case Enum.find(ids, &(Attack.fetch(&1) == :error)) do
      nil when ids == [] -> {:error, expected_attacks(only)}
      nil -> {:ok, Enum.filter(Attack.all(), &(&1.id() in ids))}
      unknown -> {:error, "unknown attack #{inspect(unknown)}: #{expected_attacks(only)}"}
    end
  end

  defp expected_attacks(only) do
    "expected --only to be one or more of #{Enum.join(Attack.ids(), ",")}, got: #{inspect(only)}"
  end

  # Checks the file now, so that the user learns of a mistake before the attacks run.
  defp file(_name, nil), do: {:ok, nil}

  defp file(name, path) do
    cond do
      path == "" or File.dir?(path) ->
        {:error, "expected --#{name} to be a file, got: #{inspect(path)}"}

      not File.dir?(Path.dirname(path)) ->
        {:error, "expected --#{name} to be a file in an existing directory, got: #{inspect(path)}"}

      true ->
        {:ok, path}
    end
  end
end
