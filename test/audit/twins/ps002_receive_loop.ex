# expects: nothing
defmodule Render.Farm do
  @moduledoc "Takes frames to render from any process, and renders four at once."

  @limit 4

  def start(root), do: spawn(fn -> loop(%{root: root, running: 0}) end)

  def loop(%{running: running} = state) when running < @limit do
    receive do
      {:frame, from, scene} ->
        farm = self()

        spawn(fn ->
          send(from, {:rendered, render(state.root, scene)})
          send(farm, :done)
        end)

        loop(%{state | running: running + 1})

      :done ->
        loop(%{state | running: running - 1})
    end
  end

  def loop(state) do
    receive do
      :done -> loop(%{state | running: state.running - 1})
    end
  end

  defp render(root, scene), do: Path.join(root, "#{:erlang.phash2(scene)}.png")
end
