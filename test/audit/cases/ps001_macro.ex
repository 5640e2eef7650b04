# expects: PS001 high line 17
defmodule Jobs.Background do
  @moduledoc "A macro for work that no process waits for."

  defmacro background(do: body) do
    quote do
      spawn(fn -> unquote(body) end)
    end
  end
end

defmodule Jobs.Cleanup do
  import Jobs.Background

  def remove(paths) do
    Enum.each(paths, fn path ->
      background do
        File.rm_rf!(path)
      end
    end)
  end
end
