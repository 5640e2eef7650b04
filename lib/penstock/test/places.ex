defmodule Penstock.Test.Places do
  # Tells people where processes were created: by which functions, with counts, most first.
  @moduledoc false

  alias Penstock.Spawners.{Call, Plumbing}
  alias Penstock.Test.{Census, Trace}

  @most_rows 10

  # Returns the lines of a list.
  @spec rows(Census.t(), [pid]) :: String.t()
  def rows(census, pids) do
    counts = pids |> Enum.frequencies_by(&place(census, &1)) |> Enum.sort_by(fn {place, count} -> {-count, place} end)
    {shown, left_out} = Enum.split(counts, @most_rows)
    lines = for {place, count} <- shown, do: "  #{digits(count)} by #{place}\n"
    rest = left_out |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    IO.iodata_to_binary([lines, if(rest > 0, do: "  #{digits(rest)} by others\n", else: [])])
  end

  # Returns the function that created a process, and the one that it runs.
  @spec place(Census.t(), pid) :: String.t()
  def place(census, pid) do
    {_creator, call, _at} = census.born[pid]
    creator(census, pid) <> running(call)
  end

  # Returns the function of a frame of a process. A process without a known frame stands for the one
  # that created it.
  @spec maker(Census.t(), pid, Census.frame() | nil) :: String.t()
  def maker(census, pid, frame), do: (frame && frame(frame)) || creator(census, pid)

  defp creator(%{root: root} = census, root), do: mfa(:erlang.fun_info_mfa(census.fun))

  defp creator(census, pid) do
    case census.born do
      %{^pid => {creator, _call, _at}} -> maker(census, creator, census.by[pid])
      %{} -> process(pid)
    end
  end

  # Returns the function of a frame with its file and line, where these are known.
  # Returns nil if a dump has no function of a user.
  @spec frame(Census.frame()) :: String.t() | nil
  def frame(dump) when is_binary(dump) do
    with {_, _, _, _} = frame <- dump |> Trace.frames() |> Trace.user_frame(Plumbing.modules()), do: frame(frame)
  end

  def frame({module, function, arity, location}) do
    arity = if is_list(arity), do: length(arity), else: arity

    case {location[:file], location[:line]} do
      {file, line} when is_list(file) and is_integer(line) -> "#{mfa({module, function, arity})} (#{file}:#{line})"
      _unknown -> mfa({module, function, arity})
    end
  end

  # Writes a number with commas between thousands.
  @spec digits(non_neg_integer) :: String.t()
  def digits(n) when n < 1_000, do: Integer.to_string(n)
  def digits(n), do: "#{digits(div(n, 1_000))},#{n |> rem(1_000) |> Integer.to_string() |> String.pad_leading(3, "0")}"

  # Names a process by its registered name, or by its pid.
  @spec process(pid) :: String.t()
  def process(pid) do
    case Process.info(pid, :registered_name) do
      {:registered_name, name} when is_atom(name) -> "#{inspect(name)} (#{inspect(pid)})"
      _none -> inspect(pid)
    end
  end

  # A task gets its function by a message, after it was created.
  defp running(call), do: if(Call.late?(call), do: "", else: ", which runs #{mfa(call)}")

  defp mfa({module, function, arity}), do: Exception.format_mfa(module, function, arity)
end
