# expects: PS002 high line 10
defmodule Render.Farm do
  @moduledoc "Takes frames to render from any process."

  def start(root), do: spawn(fn -> loop(%{root: root, frames: 0}) end)

  def loop(state) do
    receive do
      {:frame, from, scene} ->
        spawn(fn -> send(from, {:rendered, render(state.root, scene)}) end)
        loop(%{state | frames: state.frames + 1})

      {:count, from} ->
        send(from, {:frames, state.frames})
        loop(state)

      :stop ->
        :ok
    end
  end

  defp render(root, scene), do: Path.join(root, "#{:erlang.phash2(scene)}.png")
end
