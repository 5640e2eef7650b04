defmodule Penstock.Audit.Command do
  # Runs `mix penstock.audit` with its arguments. The task has the documentation.
  @moduledoc false

  alias Penstock.Audit
  alias Penstock.Audit.{Baseline, Format}

  @switches [
    format: :string,
    only: :keep,
    except: :keep,
    baseline: :string,
    write_baseline: :string,
    strict: :boolean,
    compile: :boolean
  ]

  @found 1
  @failed 2

  @spec run([String.t()]) :: :ok
  def run(args) do
    with {:ok, paths, opts} <- parse(args),
         :ok <- rules_named(opts),
         {:ok, format} <- format(opts),
         {:ok, entries} <- entries(opts[:baseline]),
         {:ok, result} <- Audit.run(paths, audit_options(opts)),
         {:ok, result} <- baseline(result, entries, paths, opts) do
      IO.write(Format.render(format, result, Audit.rules()))
      if opts[:strict] && result.findings != [], do: exit({:shutdown, @found}), else: :ok
    else
      {:error, message} ->
        Mix.shell().error(message)
        exit({:shutdown, @failed})
    end
  end

  defp parse(args) do
    case OptionParser.parse(args, strict: @switches) do
      {opts, [], []} -> {:ok, ["."], opts}
      {opts, paths, []} -> {:ok, paths, opts}
      {_opts, _paths, [{option, nil} | _]} -> {:error, "unknown option, or an option without its value: #{option}"}
      {_opts, _paths, [{option, value} | _]} -> {:error, "#{option} cannot be #{value}"}
    end
  end

  # All rules would apply otherwise, which a script with an empty variable does not mean.
  defp rules_named(opts) do
    case Enum.find(Keyword.take(opts, [:only, :except]), fn {_option, value} -> ids(value) == [] end) do
      nil -> :ok
      {option, value} -> {:error, "--#{option} cannot be #{inspect(value)}, which names no rule"}
    end
  end

  defp format(opts) do
    format = Keyword.get(opts, :format, "text")
    names = Format.names()

    if format in names,
      do: {:ok, format},
      else: {:error, "--format cannot be #{format}; it is one of #{Enum.join(names, ", ")}"}
  end

  defp audit_options(opts) do
    [only: rules(opts, :only), except: rules(opts, :except), compile?: Keyword.get(opts, :compile, true)]
  end

  defp rules(opts, key), do: opts |> Keyword.get_values(key) |> Enum.flat_map(&ids/1)

  defp ids(value), do: for(id <- String.split(value, ","), id = String.trim(id), id != "", do: String.upcase(id))

  defp entries(nil), do: {:ok, []}
  defp entries(path), do: Baseline.read(path)

  # The new baseline has all findings, those of the present one too.
  defp baseline(result, entries, paths, opts) do
    case {opts[:write_baseline], opts[:baseline]} do
      {nil, nil} -> {:ok, result}
      {nil, path} -> {:ok, Baseline.apply(result, path, entries, complete?: complete?(paths, opts))}
      {path, _present} -> write(result, path)
    end
  end

  # An audit of a part of the project or of the rules misses findings that the whole has.
  defp complete?(paths, opts),
    do: paths == ["."] and opts[:only] == nil and opts[:except] == nil and Keyword.get(opts, :compile, true)

  defp write(result, path) do
    with :ok <- Baseline.write(path, result.findings) do
      Mix.shell().error("wrote #{length(result.findings)} findings to the baseline #{path}")
      {:ok, %{result | findings: []}}
    end
  end
end
