defmodule Penstock.Edge.Table do
  # The ETS table of the modules that stand at the edge of an application: when a notice was last
  # logged, and the sockets that are on their way to their connection processes.
  @moduledoc false

  # Creates the table. The process that starts the application calls this and owns the table, so
  # the table lives as long as the application.
  @spec create() :: :ok
  def create do
    if :ets.whereis(__MODULE__) == :undefined do
      :ets.new(__MODULE__, [:named_table, :public, :set, read_concurrency: true, write_concurrency: true])
    end

    :ok
  end
end
