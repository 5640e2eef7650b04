defmodule Penstock.Spawners.Plumbing do
  # The modules whose functions create processes for others: of OTP, Elixir and Penstock. The
  # function of the user comes after theirs on the stack of a creator.
  @moduledoc false

  @modules [
             :code_server,
             :erlang,
             :error_handler,
             :erpc,
             :ets,
             :gen,
             :gen_event,
             :gen_server,
             :gen_statem,
             :gen_tcp,
             :gen_udp,
             :inet,
             :inet_tcp,
             :inet_udp,
             :lists,
             :prim_inet,
             :proc_lib,
             :supervisor,
             :timer
           ] ++
             [Agent, DynamicSupervisor, Enum, GenServer, Kernel, PartitionSupervisor, Process, Stream, Supervisor] ++
             [Port, Task, Task.Supervised, Task.Supervisor]

  @typedoc "The modules, as keys."
  @type t :: %{module => true}
  @typedoc "A frame of a stack trace."
  @type frame :: {module, atom, arity | [term], keyword}

  @spec modules() :: t
  def modules do
    own =
      case :application.get_key(:penstock, :modules) do
        {:ok, modules} -> Enum.filter(modules, &own?/1)
        :undefined -> []
      end

    Map.new(@modules ++ own, &{&1, true})
  end

  # The tests of Penstock have modules of other names in its application.
  defp own?(module), do: module |> Atom.to_string() |> String.starts_with?("Elixir.Penstock")

  # Returns the innermost frame of a stack that is no plumbing, or nil.
  @spec user_frame(Enumerable.t(), t) :: frame | nil
  def user_frame(stack, modules), do: Enum.find(stack, fn {module, _, _, _} -> not is_map_key(modules, module) end)
end
