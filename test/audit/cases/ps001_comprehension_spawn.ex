# expects: PS001 high line 7
defmodule Feed.Fetcher do
  @moduledoc false

  def refresh(urls, owner) do
    for url <- urls, String.starts_with?(url, "https://") do
      spawn_link(fn ->
        body = fetch(url)
        send(owner, {:feed, url, body})
      end)
    end

    :ok
  end

  defp fetch(url) do
    case Req.get(url) do
      {:ok, response} -> response.body
      {:error, _reason} -> ""
    end
  end
end
