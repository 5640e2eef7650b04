# expects: PS003 high line 13, PS001 high line 13
defmodule Crawler do
  @moduledoc "Follows all links of a site."

  def start(url), do: crawl(url)

  def crawl(url) do
    page = Req.get!(url).body
    store(url, page)

    page
    |> links()
    |> Enum.each(fn link -> spawn(fn -> crawl(link) end) end)
  end

  defp links(page) do
    ~r/href="([^"]+)"/
    |> Regex.scan(page, capture: :all_but_first)
    |> List.flatten()
  end

  defp store(url, page), do: :ets.insert(:pages, {url, byte_size(page)})
end
