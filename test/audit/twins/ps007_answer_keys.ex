# expects: nothing
defmodule Game.Settings do
  def current(type) do
    answer = Req.get!("http://gateway/" <> type)
    Jason.decode!(answer.body, keys: :strings)
  end
end
