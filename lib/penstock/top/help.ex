defmodule Penstock.Top.Help do
  # The page that explains keys and columns.
  @moduledoc false

  @keys [
    {"q", "quit"},
    {"p", "pause, and go on"},
    {"tab, 0-4", "the next table, all, gates, holders, keys, bans"},
    {"j k", "scroll down, up"},
    {"s n u", "sort by state (refusing first), name, share in use"},
    {"a r w", "sort by admitted, refused, waiting"}
  ]

  @columns [
    {"USED", "pool: permits held; keyed, rate: keys in use; ban: keys banned"},
    {"WAIT", "requests that wait for a permit"},
    {"ADMIT/S", "requests admitted each second; REFUSE/S those refused"},
    {"STATE", "refusing: it refused since the last page"},
    {"", "stopped: it drains, is closed, or has the limit 0"},
    {"", "full: all permits are held, nothing was refused"},
    {"HELD FOR", "how long the process has held permits without a pause"}
  ]

  @spec lines() :: [Penstock.Top.Line.t()]
  def lines do
    for {key, text} <- @keys ++ [{"", ""} | @columns], do: [{:title, String.pad_trailing(key, 10)}, text]
  end
end
