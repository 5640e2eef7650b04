# expects: nothing
defmodule Jobs.Background do
  @moduledoc "A macro for work that the log measures."

  defmacro measured(do: body) do
    quote do
      {time, result} = :timer.tc(fn -> unquote(body) end)
      IO.puts("took #{time} us")
      result
    end
  end
end

defmodule Jobs.Cleanup do
  import Jobs.Background

  def remove(paths) do
    Enum.each(paths, fn path ->
      measured do
        File.rm_rf!(path)
      end
    end)
  end
end
