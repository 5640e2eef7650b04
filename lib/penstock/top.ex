defmodule Penstock.Top do
  @moduledoc """
  Shows what the gates of a node do, as a page in the terminal that refreshes each second.

  In a remote shell, such as that of `bin/my_app remote` or of `iex --remsh`:

      Penstock.Top.run()

  From outside, `mix penstock.top NODE` shows the same.

  The page has the pressure of the VM and the use of its limits; each gate, with its rates, and why it
  refuses; the processes that have held permits for longest; the keys that hold most; and the bans
  that end last. A page of fewer than 30 lines shows one of these tables at a time.

  | key | what it does |
  |---|---|
  | `q` | quits |
  | `p` | pauses, and goes on |
  | `h` or `?` | shows the keys and the columns |
  | tab | shows the next table |
  | `0` to `4` | shows all tables, the gates, the holders, the keys, the bans |
  | `s`, `n`, `u`, `a`, `r`, `w` | sorts by state (gates that refuse come first), name, share in use, admitted, refused, waiting |
  | `j`, `k` | scrolls down, up |

  In a shell, each key is followed by Enter, because the shell has the terminal. `mix penstock.top`
  takes keys at once.

  Names and keys may come from an attacker. Characters that could control the terminal or turn the
  text around are shown as `?`, and so is text that is written from right to left.

  Without a terminal, or with `TERM=dumb`, each page is plain text. `NO_COLOR` turns colours off.
  """

  alias Penstock.Options
  alias Penstock.Top.{Loop, Page, RawMode, Screen, Source, View}
  alias Penstock.View.Rates

  @options [:interval, :sort, :lines, :columns, :node, :once]

  @intervals 100..3_600_000
  @most_columns 1_000

  @doc """
  Shows the page until the user quits.

  Returns:

    * `:ok` - the user quit, or the input ended
    * `{:error, :nodedown}` - the connection to the node was lost. The page says so first

  Raises `ArgumentError` for a wrong option, for a node that is not connected, that does not answer, or
  that has no Penstock, and for one whose Penstock has pages of another form. Raises `RuntimeError` if
  the node cannot make a page any more.

  Options:

    * `:interval` - the ms between two pages: 100 to 3_600_000. Default `1_000`
    * `:sort` - the order of the gates: `:state`, `:name`, `:used`, `:admitted`, `:refused` or
      `:waiting`. Default `:state`
    * `:columns`, `:lines` - the size of a page: 1 to 1_000. Default: that of the terminal, or 80
      columns and 24 lines. With `once: true`, the default is 200 lines
    * `:node` - a connected node, which must have Penstock. Default: the node of the caller
    * `:once` - `true` prints one page as plain text, after one interval, for which the rates are.
      Default `false`

  ## Examples

      iex> ExUnit.CaptureIO.capture_io(fn -> :ok = Penstock.Top.run(once: true, interval: 100) end) =~ "pressure"
      true

  """
  @spec run(keyword) :: :ok | {:error, :nodedown}
  def run(opts \\ []) do
    opts = check!(opts)
    screen = Screen.open(opts)

    case show(opts[:node], opts, screen) do
      :ok ->
        :ok

      {:error, :noconnection} ->
        Screen.write(screen, [Source.explain(opts[:node], :noconnection), "\n"])
        {:error, :nodedown}

      {:error, error} ->
        raise Source.explain(opts[:node], error)
    end
  end

  # Returns the options with their defaults.
  defp check!(opts) do
    opts = Options.known!(opts, @options)

    [
      interval: interval!(Keyword.get(opts, :interval, 1_000)),
      sort: Options.one_of!(Keyword.get(opts, :sort, :state), ":sort", View.sorts()),
      columns: size!(opts[:columns], ":columns"),
      lines: size!(opts[:lines], ":lines"),
      node: node!(Keyword.get(opts, :node, node())),
      once: Options.boolean!(Keyword.get(opts, :once, false), ":once")
    ]
  end

  defp interval!(ms) when is_integer(ms) and ms in @intervals, do: ms
  defp interval!(ms), do: Options.expected!(":interval", "an integer between 100 and 3600000", ms)

  defp size!(nil, _name), do: nil
  defp size!(n, _name) when is_integer(n) and n in 1..@most_columns, do: n
  defp size!(n, name), do: Options.expected!(name, "an integer between 1 and #{@most_columns}", n)

  defp node!(node) when node == node(), do: node

  defp node!(node) do
    connected = Node.list(:connected)

    if node in connected,
      do: node,
      else: Options.expected!(":node", "a connected node", node, "connected: #{Options.show(connected)}")
  end

  defp show(node, opts, screen) do
    view = %View{sort: opts[:sort], interval: opts[:interval]}
    first = first!(node, view, screen)
    if opts[:once], do: once(node, first, view, screen), else: Loop.run(node, first, view, screen)
  end

  @doc false
  # Shows the page in a terminal that no shell uses, where keys work without Enter.
  @spec run_alone(keyword) :: :ok | {:error, Source.error()}
  def run_alone(opts) do
    opts = check!(opts)
    screen = Screen.open(opts)

    case if(screen.ansi?, do: RawMode.start(), else: :error) do
      {:ok, port} ->
        try do
          show(opts[:node], opts, %{screen | input: :keys, shell?: false})
        after
          RawMode.stop(port)
        end

      :error ->
        show(opts[:node], opts, %{screen | shell?: false})
    end
  end

  defp first!(node, view, screen) do
    case fetch(node, view, screen) do
      {:ok, report} -> report
      {:error, error} -> raise ArgumentError, Source.explain(node, error)
    end
  end

  defp fetch(node, view, screen) do
    {_columns, lines} = Screen.size(screen)
    Source.fetch(node, Page.sizes(view, lines))
  end

  defp once(node, first, view, screen) do
    # The rates of the page are those of this time.
    Process.sleep(view.interval)

    with {:ok, report} <- fetch(node, view, screen) do
      rates = Rates.between(first.snapshot, report.snapshot)
      Screen.write(screen, Page.render(report, rates, view, Screen.size(screen)))
      :ok
    end
  end
end
