defmodule Penstock.Edge.Config do
  # Keeps the options of modules that say `use Penstock.Plug` or the like. The options are code of
  # the using module, such as `key: fn conn -> … end`. So a macro puts them into a fun, and this
  # module calls the fun once and keeps the result.
  @moduledoc false

  # Returns `prepare.(options.())`. Later calls return the same result, until the using module has
  # been compiled again: then its fun is another one.
  #
  # `persistent_term` makes a first read cheap and a change expensive. A change happens only after
  # a module was compiled again.
  @spec get(module, Penstock.work(term), (term -> config)) :: config when config: term
  def get(module, options, prepare) do
    case :persistent_term.get({__MODULE__, module}, nil) do
      {^options, config} ->
        config

      _none_or_old ->
        config = prepare.(options.())
        :persistent_term.put({__MODULE__, module}, {options, config})
        config
    end
  end
end
