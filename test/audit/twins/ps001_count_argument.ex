# expects: nothing
defmodule Game.Bots do
  @moduledoc "Fills a table with computer players. A table has four seats."

  @seats 4

  def fill(table) do
    for number <- 2..@seats do
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
