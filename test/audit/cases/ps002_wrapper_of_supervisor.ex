# expects: PS002 medium line 8, PS002 high line 10
defmodule Lab.Children do
  use DynamicSupervisor

  def start_link(arg), do: DynamicSupervisor.start_link(__MODULE__, arg, name: __MODULE__)

  # The child may have a name, of which there is one.
  def add(spec), do: DynamicSupervisor.start_child(__MODULE__, spec)

  def measure(sample), do: DynamicSupervisor.start_child(__MODULE__, {Agent, fn -> sample end})

  @impl true
  def init(_arg), do: DynamicSupervisor.init(strategy: :one_for_one)
end

defmodule LabWeb.SampleController do
  use ShopWeb, :controller

  def create(conn, %{"sample" => sample}) do
    Lab.Children.add({Lab.Sample, sample})
    Lab.Children.measure(sample)
    json(conn, %{})
  end
end
