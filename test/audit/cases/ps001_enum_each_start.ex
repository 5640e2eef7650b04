# expects: PS001 high line 13
defmodule Shop.Newsletter do
  @moduledoc "Sends the weekly letter to subscribers."

  require Logger

  alias Shop.Mailer

  def deliver(subscribers, letter) do
    Logger.info("sending #{letter.subject}")

    Enum.each(subscribers, fn subscriber ->
      Task.start(fn -> Mailer.send(subscriber.email, letter) end)
    end)

    {:ok, length(subscribers)}
  end

  def preview(letter), do: Mailer.render(letter)
end

defmodule Shop.Mailer do
  def send(email, letter), do: {email, render(letter)}
  def render(letter), do: letter.subject <> "\n" <> letter.body
end
