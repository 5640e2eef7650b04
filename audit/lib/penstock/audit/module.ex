defmodule Penstock.Audit.Module do
  @moduledoc false
  # A module of the audited project: its functions, joined with what the tracer saw, and the reach
  # of the whole project. Rules for code read this struct.
  #
  # `routes` are the modules that the module, if it is a router, serves to administrators alone and to everyone.
  # `restricted?` says whether outsiders do not reach the module.
  #
  # `lines` is a tuple, so that a rule reads any line of a long file in constant time.

  defstruct name: nil,
            file: nil,
            line: 1,
            kind: :defmodule,
            uses: [],
            behaviours: [],
            imports: [],
            attributes: %{},
            plugs: [],
            functions: %{},
            lines: {},
            schedules: MapSet.new(),
            routes: {[], []},
            restricted?: false,
            generated: [],
            reach: nil

  @type t :: %__MODULE__{
          name: module,
          file: String.t(),
          line: pos_integer,
          kind: atom,
          uses: [{module, atom | nil}],
          behaviours: [module],
          imports: [module],
          attributes: %{atom => Macro.t()},
          plugs: [Macro.t()],
          functions: %{{atom, arity} => Penstock.Audit.Function.t()},
          lines: tuple,
          schedules: MapSet.t(),
          routes: {[module], [module]},
          restricted?: boolean,
          generated: [{pos_integer, {module, atom, arity}}],
          reach: map | nil
        }

  @doc "Returns whether the module uses one of `modules`, or has it as its behaviour."
  @spec is?(t, [module]) :: boolean
  def is?(module, modules), do: Enum.any?(module.uses, &(elem(&1, 0) in modules)) or any?(module.behaviours, modules)

  @doc "Returns whether the module has a `use` with one of `atoms`, as in `use MyAppWeb, :controller`."
  @spec uses_as?(t, [atom]) :: boolean
  def uses_as?(module, atoms), do: Enum.any?(module.uses, &(elem(&1, 1) in atoms))

  @doc "Returns all calls of the module, each with its function."
  @spec calls(t) :: [{Penstock.Audit.Function.t(), Penstock.Audit.Call.t()}]
  def calls(module), do: for({_key, function} <- module.functions, call <- function.calls, do: {function, call})

  defp any?(list, others), do: Enum.any?(list, &(&1 in others))
end
