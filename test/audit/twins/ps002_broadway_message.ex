# expects: nothing
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

  # The task gives the call a time limit; at most ten messages are at work.
  def handle_message(_processor, message, _context) do
    task = Task.async(fn -> ship(message.data) end)
    _answer = Task.await(task, 10_000)
    Message.update_data(message, &String.upcase/1)
  end

  defp ship(order), do: Req.post("https://ship.example.com", json: order)
end
