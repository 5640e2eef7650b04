# expects: PS001 high line 7
defmodule Game.Bots do
  @moduledoc "Fills a table with computer players."

  def fill(table, count) do
    for number <- 1..count do
      spawn(fn -> play(table, "bot-#{number}") end)
    end
  end

  def play(table, name) do
    send(table, {:join, self(), name})

    receive do
      {:your_turn, cards} -> send(table, {:played, self(), Enum.random(cards)})
      :over -> :ok
    end
  end
end
