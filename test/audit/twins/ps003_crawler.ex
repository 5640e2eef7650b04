# expects: nothing
defmodule Crawler do
  @moduledoc "Follows all links of a site, eight at a time."

  def start(url), do: crawl([url], MapSet.new())

  def crawl([], _seen), do: :ok

  def crawl(urls, seen) do
    next =
      urls
      |> Task.async_stream(&visit/1, max_concurrency: 8, timeout: 20_000)
      |> Enum.flat_map(fn {:ok, links} -> links end)
      |> Enum.uniq()

    seen = MapSet.union(seen, MapSet.new(urls))
    crawl(Enum.reject(next, &MapSet.member?(seen, &1)), seen)
  end

  defp visit(url) do
    page = Req.get!(url).body
    :ets.insert(:pages, {url, byte_size(page)})
    links(page)
  end

  defp links(page) do
    ~r/href="([^"]+)"/
    |> Regex.scan(page, capture: :all_but_first)
    |> List.flatten()
  end
end
