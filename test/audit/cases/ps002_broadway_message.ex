# expects: PS002 medium line 16
defmodule Orders.Pipeline do
  use Broadway

  alias Broadway.Message

  def start_link(_opts) do
    Broadway.start_link(__MODULE__,
      name: __MODULE__,
      producer: [module: {BroadwaySQS.Producer, queue_url: "https://sqs.example.com/orders"}],
      processors: [default: [concurrency: 10]]
    )
  end

  def handle_message(_processor, message, _context) do
    Task.start(fn -> ship(message.data) end)
    Message.update_data(message, &String.upcase/1)
  end

  defp ship(order), do: Req.post("https://ship.example.com", json: order)
end
