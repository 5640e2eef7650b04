defmodule Penstock.Listener.Delegate do
  # Defines the functions of a transport that a guarded transport does not change.
  @moduledoc false

  # Returns definitions that call the module `to`: all its functions, and those of the list
  # `callbacks` if it cannot be loaded when the using module is compiled. The guarded transport
  # defines the functions of the list `own`, so they are left out.
  @spec definitions(module, keyword(arity), keyword(arity)) :: Macro.t()
  def definitions(to, callbacks, own) do
    functions = Enum.uniq(exports(to) ++ callbacks) -- own

    defined =
      for {name, arity} <- functions do
        args = Macro.generate_arguments(arity, __MODULE__)

        quote do
          def unquote(name)(unquote_splicing(args)), do: unquote(to).unquote(name)(unquote_splicing(args))
        end
      end

    quote do
      @moduledoc false
      @compile {:no_warn_undefined, unquote(to)}
      unquote_splicing(defined)
    end
  end

  @of_each_module [module_info: 0, module_info: 1, behaviour_info: 1, __info__: 1]

  defp exports(to) do
    if Code.ensure_loaded?(to), do: to.module_info(:exports) -- @of_each_module, else: []
  end
end
