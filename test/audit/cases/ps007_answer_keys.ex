# expects: PS007 medium line 5
defmodule Game.Settings do
  def current(type) do
    answer = Req.get!("http://gateway/" <> type)
    Jason.decode!(answer.body, keys: :atoms)
  end
end
