# expects: PS001 medium line 6
defmodule Post.Letters do
  def send(letter), do: GenServer.cast(Post.Worker, {:letter, letter})

  # No function of the project calls this.
  def send_all(letters), do: Enum.each(letters, fn letter -> Task.start(fn -> deliver(letter) end) end)

  def deliver(letter), do: File.write!("/var/spool/post", letter)
end

defmodule Post.Clock do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts) do
    GenServer.cast(Post.Worker, {:count, 0})
    {:ok, 0}
  end
end
