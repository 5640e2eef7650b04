# expects: nothing
defmodule Lab.Children do
  use DynamicSupervisor

  def start_link(arg), do: DynamicSupervisor.start_link(__MODULE__, arg, name: __MODULE__)
  def add(spec), do: DynamicSupervisor.start_child(__MODULE__, spec)

  @impl true
  def init(_arg), do: DynamicSupervisor.init(strategy: :one_for_one, max_children: 20)
end

defmodule LabWeb.SampleController do
  use ShopWeb, :controller

  def create(conn, %{"sample" => sample}) do
    Lab.Children.add({Lab.Sample, sample})
    json(conn, %{})
  end
end
