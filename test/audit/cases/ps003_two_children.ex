# expects: PS003 high line 8, PS003 high line 9
defmodule Ants.Colony do
  @moduledoc "Each ant looks at a field, and sends two further ones."

  def explore(field) do
    visit(field)

    spawn(fn -> explore({field, :left}) end)
    spawn(fn -> explore({field, :right}) end)

    :ok
  end

  defp visit(field) do
    :ets.insert(:fields, {field, System.monotonic_time()})
  end
end
