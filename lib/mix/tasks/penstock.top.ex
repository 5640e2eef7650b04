defmodule Mix.Tasks.Penstock.Top do
  @shortdoc "Shows what the gates of a running node do"

  @moduledoc """
  Shows what the gates of a running node do, as a page in the terminal that refreshes each second.

      mix penstock.top NODE [--cookie COOKIE] [--interval MS] [--sort KEY] [--once]

  `NODE` is the name of the node, such as `my_app@10.0.0.7`. A name without a host is on this
  machine. The node must run Penstock. `Penstock.Top` describes the page and its keys.

  The task neither compiles nor starts your application. It becomes a hidden node that accepts no
  connections, and asks the node for a report once each interval. If the connection is lost, the task
  says so, and ends with the exit status 1.

  ## Options

    * `--name NAME`, `--sname NAME` - the name of this node, long or short. Default: a name with a
      random number
    * `--cookie COOKIE` - the cookie of the node. Other users of this machine can see it in the list of
      processes; the file `~/.erlang.cookie`, which is the default, is safer
    * `--interval MS` - the ms between two pages. Default 1000
    * `--sort KEY` - the order of the gates: `s` state, `n` name, `u` share in use, `a` admitted,
      `r` refused, `w` waiting. Default `s`
    * `--once` - prints one page as plain text

  Without a terminal, each page is plain text.
  """

  use Mix.Task

  alias Penstock.Options
  alias Penstock.Top
  alias Penstock.Top.{Connection, Source, View}

  @switches [name: :string, sname: :string, cookie: :string, interval: :integer, sort: :string, once: :boolean]

  @impl true
  def run(args) do
    {node, opts} = parse(args)
    # A log line of the VM would break the page, so the task reports errors itself.
    :logger.set_primary_config(:level, :none)

    with {:ok, node} <- Connection.open(node, opts),
         :ok <- show(node, Keyword.take(opts, [:interval, :sort, :once])) do
      :ok
    else
      {:error, message} -> Mix.raise(message)
    end
  end

  defp parse(args) do
    {opts, rest, invalid} = OptionParser.parse(args, strict: @switches)
    opts = if sort = opts[:sort], do: Keyword.put(opts, :sort, sort!(sort)), else: opts

    case {rest, invalid} do
      {[node], []} -> {node, opts}
      {_rest, [{option, nil} | _]} -> Mix.raise("unknown option, or an option without its value: #{option}")
      {_rest, [{option, value} | _]} -> Mix.raise("#{option} cannot be #{Options.show(value)}")
      _other -> Mix.raise("expected the name of one node: mix penstock.top NODE; see mix help penstock.top")
    end
  end

  defp sort!(text) do
    names = Map.new(View.sorts(), &{Atom.to_string(&1), &1})

    View.sort(text) || names[text] ||
      Mix.raise("--sort is one of s, n, u, a, r, w: state, name, used, admitted, refused, waiting")
  end

  defp show(node, opts) do
    with {:error, error} <- Top.run_alone([node: node] ++ opts), do: {:error, Source.explain(node, error)}
  rescue
    error in ArgumentError -> {:error, Exception.message(error)}
  end
end
