defmodule Penstock.DynamicSupervisorTest do
  use Penstock.PoolCase, async: true
  doctest Penstock.DynamicSupervisor
end
