defmodule Penstock.Test.Ownership.OwnedGates do
  # What `Penstock.Test` says about own gates. Runs in the process of the test.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.{Ban, Options, RateLimiter}
  alias Penstock.Test.Ownership.{Chain, Lookup, Seam, Server, Settings, TestEnd}

  @spec own(term, term) :: atom
  def own(name, opts) do
    on!("own/2")
    {kind, module, opts} = Settings.read!(Options.name!(name), opts)
    owner = self()
    later = TestEnd.call_after({Server, owner}, fn -> Server.finish(owner) end)
    {opts, limits} = own_limits(opts, kind)
    gate = %{name: name, kind: kind, module: module, opts: opts, clock: opts[:clock] || :monotonic, limits: limits}
    Server.own(gate, later)
  end

  # A gate of several limits asks those that it was started with. So the test also owns each of
  # them, with the options of the application, unless it owns it already.
  defp own_limits(opts, :gate) do
    names = opts[:limits]

    if is_list(names) and not List.improper?(names) do
      limits = for name <- names, is_atom(name), into: %{}, do: {name, own_limit(name)}
      {Keyword.put(opts, :limits, Enum.map(names, &Map.get(limits, &1, &1))), limits}
    else
      {opts, %{}}
    end
  end

  defp own_limits(opts, _one_limit), do: {opts, %{}}

  # The start of the gate names a limit that is not running.
  defp own_limit(name) do
    case Lookup.gate(name) do
      ^name -> if Resolver.kind(name), do: own(name, []), else: name
      own -> own
    end
  end

  @spec allow(term, term) :: :ok
  def allow(name, who) do
    on!("allow/2")
    name = Options.name!(name)

    case Lookup.gate(name) do
      ^name ->
        raise ArgumentError,
              "#{inspect(self())} has no #{inspect(name)} of its own that it could allow. " <>
                "Call Penstock.Test.own(#{inspect(name)}) first, in the process of the test"

      own ->
        Server.allow(name, own, who!(who))
    end
  end

  defp who!(pid) when is_pid(pid) and node(pid) == node(), do: pid
  defp who!(name) when is_atom(name) and name not in [nil, true, false], do: name
  defp who!({:via, module, _name} = via) when is_atom(module), do: via
  defp who!({:global, _name} = global), do: global
  defp who!(fun) when is_function(fun, 0), do: fun

  defp who!(other) do
    what = "a pid of this node, the name of a process, or a function of arity 0 that returns one of them"
    Options.expected!("the process to allow", what, other)
  end

  @spec advance(term) :: :ok
  def advance(ms) do
    on!("advance/1")
    unless ms == 0, do: Options.permits!(ms, "ms")

    owns = Enum.flat_map(Chain.all(), &(Lookup.get({:owner, &1}) || []))
    clocks = for own <- owns, %{clock: :manual, kind: kind} <- [Lookup.get({:own, own})], do: {kind, own}

    if clocks == [] do
      raise ArgumentError,
            "the test has no clock to advance. Own a limiter or a ban with a manual one: " <>
              "Penstock.Test.own(MyApp.Api, clock: :manual)"
    end

    Enum.each(clocks, fn
      {:rate_limiter, own} -> RateLimiter.advance(own, ms)
      {:ban, own} -> Ban.advance(own, ms)
    end)
  end

  @off """
  needs Penstock to be compiled for own gates of tests, and it is not. Add this line to config/test.exs \
  (which config/config.exs imports), never to that of production:

      config :penstock, test_gates: true

  Then Mix compiles Penstock again, or asks for it: MIX_ENV=test mix deps.compile penstock --force
  """

  defp on!(function), do: unless(Seam.on?(), do: raise("Penstock.Test." <> function <> " " <> @off))
end
