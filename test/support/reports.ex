defmodule Penstock.Reports do
  # Reports for tests of the terminal page, made by hand.
  @moduledoc false

  @doc "Returns a report with the gates, and with lists of the given rows."
  def report(gates, lists \\ []) do
    %{
      version: "0.1.0",
      snapshot: %{
        at: 1_700_000_000_000,
        tick: 0,
        node: :shop@host,
        vm: vm(:normal, []),
        gates: gates,
        left_out: 0
      },
      holders: Keyword.get(lists, :holders, []),
      keys: Keyword.get(lists, :keys, []),
      bans: Keyword.get(lists, :bans, [])
    }
  end

  @doc "Returns the use of the VM with a pressure."
  def vm(pressure, because) do
    figures = %{count: 50, limit: 200, used: 0.25}

    %{
      pressure: pressure,
      because: because,
      processes: %{count: 209_000, limit: 262_144, used: 0.8},
      ports: figures,
      atoms: figures,
      ets: figures,
      run_queue: Map.put(figures, :delay, 1.5),
      memory: nil,
      cpu_stall: nil,
      memory_stall: %{count: 12.5, limit: 100, used: 0.125}
    }
  end

  @doc "Returns a pool. `info` replaces parts of its info."
  def pool(name, info \\ %{}) do
    info =
      Map.merge(
        %{status: :open, limit: 10, in_use: 2, available: 8, overdraft: 0, holders: 2, waiting: 0, max_waiting: 5},
        Map.new(info)
      )

    gate(name, :pool, info)
  end

  @doc "Returns a gate of a kind."
  def gate(name, kind, info), do: %{name: name, kind: kind, opening: 1, info: info, admitted: 0, refused: %{}}

  @doc "Returns one gate of each kind."
  def kinds do
    [
      pool(:pool),
      pool(:unlimited, limit: :infinity, available: :infinity),
      gate(:keyed, :keyed_pool, %{status: :open, limit: 3, keys: 7, max_keys: 100, in_use: 9, waiting: 1}),
      gate(:rate, :rate_limiter, %{limit: 5, per: 1_000, keys: 4, max_keys: 10}),
      gate(:ban, :ban, %{bans: 2, max_bans: 8}),
      gate(:gate, :gate, %{status: :open, limits: [:pool], shed_at: :high})
    ]
  end

  @doc "Returns the rates of a gate."
  def rates(admitted, refused), do: %{admitted: admitted, refused: Map.new(refused)}

  @doc "Returns names and keys that could harm a terminal, or exceed a column."
  def hostile_texts do
    [
      "red\e[31m",
      "clear\e[2J\e[H",
      "title\e]0;owned\a",
      "line\nline\r\n\u2028",
      "c1 \u009B31m",
      "turned \u202Eabc\u202C \u200F\u2066x\u2069",
      "hebrew \u05E9\u05DC\u05D5\u05DD 123",
      "marks " <> String.duplicate("a\u0300\u0301\u0302", 60),
      "zero \u200B\u200D\uFEFF\u3164\u115F\u1160width",
      String.duplicate("漢", 255),
      String.duplicate("한글", 100),
      String.duplicate("ﾊﾟ", 100),
      String.duplicate("🎉", 255),
      String.duplicate("👩‍👩‍👧", 50),
      String.duplicate("é", 255),
      String.duplicate("x", 255),
      "<script>alert('\"')</script>",
      "",
      " ",
      "tab\tdelete\d",
      "private \u{E000}\u{F0000}"
    ]
  end
end
