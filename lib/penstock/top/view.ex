defmodule Penstock.Top.View do
  # What of a report a page shows, and how; and how the keys of the user change that.
  @moduledoc false

  @sections [:all, :gates, :holders, :keys, :bans]
  @sorts %{
    "s" => :state,
    "n" => :name,
    "u" => :used,
    "a" => :admitted,
    "r" => :refused,
    "w" => :waiting
  }

  # The rows that a key scrolls.
  @step 5

  # The time after which the last answer of a node is too old for a page to show it as current.
  @stale_ms 3_000

  @typedoc """
  `section: nil` lets the size of the page decide. `waited_ms` is the time since a node was asked
  that has not answered. `input`: how keys come: one by one, in lines, or not at all.
  """
  @type t :: %__MODULE__{
          section: nil | :all | :gates | :holders | :keys | :bans,
          sort: atom,
          from: non_neg_integer,
          help?: boolean,
          paused?: boolean,
          colour?: boolean,
          interval: pos_integer,
          waited_ms: non_neg_integer,
          input: :keys | :lines | :none
        }

  defstruct section: nil,
            sort: :state,
            from: 0,
            help?: false,
            paused?: false,
            colour?: false,
            interval: 1_000,
            waited_ms: 0,
            input: :none

  @spec sorts() :: [atom]
  def sorts, do: Map.values(@sorts)

  # Returns the order for a letter, such as "u"; nil for another text.
  @spec sort(String.t()) :: atom | nil
  def sort(letter), do: @sorts[letter]

  # Returns true if the page is older than people expect, because the node does not answer.
  @spec stale?(t) :: boolean
  def stale?(view), do: view.waited_ms > @stale_ms + view.interval

  # Returns the view after a key, or `:quit`. The page shows `section`, a table of
  # `rows` rows.
  @spec press(t, String.t(), %{section: atom, rows: non_neg_integer}) :: t | :quit
  def press(view, key, shown)

  # The bytes of ctrl-c and ctrl-d come as keys, because the terminal sends no signals for them.
  def press(_view, key, _shown) when key in ["q", "Q", <<3>>, <<4>>], do: :quit
  def press(%{help?: true} = view, _key, _shown), do: %{view | help?: false}
  def press(view, key, _shown) when key in ["h", "?"], do: %{view | help?: true}
  def press(view, "p", _shown), do: %{view | paused?: not view.paused?}
  def press(view, "\t", shown), do: %{view | section: next(shown.section), from: 0}
  def press(view, "j", shown), do: %{view | from: min(view.from + @step, max(shown.rows - 1, 0))}
  def press(view, "k", _shown), do: %{view | from: max(view.from - @step, 0)}
  def press(view, key, _shown) when is_map_key(@sorts, key), do: %{view | sort: @sorts[key], from: 0}

  def press(view, <<digit>>, _shown) when digit in ?0..?4,
    do: %{view | section: Enum.at(@sections, digit - ?0), from: 0}

  def press(view, _key, _shown), do: view

  defp next(shown) do
    at = Enum.find_index(@sections, &(&1 == shown))
    Enum.at(@sections, rem(at + 1, length(@sections)))
  end
end
