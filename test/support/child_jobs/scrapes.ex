defmodule Penstock.ChildJobs.Scrapes do
  # Scrapes in a VM of its own, for the tests of Penstock.Metrics.
  @moduledoc false

  alias Penstock.{Exposition, Metrics, Pool}

  @doc "Starts `n` pools. Returns how many have samples, how many are left out, and how many there are."
  def many_gates(n) do
    for i <- 1..n, do: {:ok, _} = Pool.start_link(name: :"pool_#{i}", limit: 1)
    families = Exposition.parse!(Metrics.scrape(), :prometheus)

    {length(families["penstock_permits_limit"].samples), Exposition.value(families, "penstock_gates_left_out", %{}),
     Exposition.value(families, "penstock_gates", %{})}
  end

  @doc "Scrapes after the application has stopped. Returns the admissions of a pool, and the pressure."
  def without_application do
    {:ok, _} = Pool.start_link(name: MyApp.Alone, limit: 1)
    :ok = Pool.try_acquire(MyApp.Alone)
    :ok = Application.stop(:penstock)
    families = Exposition.parse!(Metrics.scrape(), :prometheus)

    {Exposition.value(families, "penstock_admitted_total", %{"gate" => "MyApp.Alone"}),
     Exposition.value(families, "penstock_vm_pressure", %{})}
  end
end
