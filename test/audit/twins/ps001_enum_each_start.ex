# expects: nothing
defmodule Shop.Newsletter do
  @moduledoc "Sends the weekly letter to the three lists."

  require Logger

  alias Shop.Mailer

  @lists ["editors@example.com", "press@example.com", "staff@example.com"]

  def deliver(letter) do
    Logger.info("sending #{letter.subject}")

    Enum.each(@lists, fn address ->
      Task.start(fn -> Mailer.send(address, letter) end)
    end)

    {:ok, length(@lists)}
  end

  def preview(letter), do: Mailer.render(letter)
end

defmodule Shop.Mailer do
  def send(email, letter), do: {email, render(letter)}
  def render(letter), do: letter.subject <> "\n" <> letter.body
end
