# expects: PS002 high line 3
defmodule Track.Analytics do
  def track(event), do: Task.start(fn -> Req.post("https://stats.example.com", json: event) end)
end

defmodule Track.Demo do
  def fill, do: Enum.each(Shop.Repo.all(:demo), &Track.Analytics.track/1)
end

defmodule TrackWeb.VisitController do
  use ShopWeb, :controller

  def create(conn, %{"visit" => visit}) do
    Track.Analytics.track(visit)
    json(conn, %{})
  end
end
