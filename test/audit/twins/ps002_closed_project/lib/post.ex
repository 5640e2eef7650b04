# expects: nothing
defmodule Post.Letters do
  def send(letter), do: GenServer.cast(Post.Worker, {:letter, letter})
  def deliver(letter), do: File.write!("/var/spool/post", letter)
end
