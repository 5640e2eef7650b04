defmodule Penstock.Child do
  # A process behind a gate, which holds its permits until it is dead. Its own code has no part in that, and its stack
  # shows nothing but the user's function.
  @moduledoc false

  alias Penstock.{GateRef, Offer, Options}

  @options [:timeout, :permits, :spawn_opt]

  @doc false
  @spec start(GateRef.t(), term, term, [:link | :monitor]) ::
          {:ok, pid | {pid, reference}} | {:error, term}
  def start(gate, fun, opts, tie) do
    Options.fun!(fun)
    {permits, timeout, spawn_opt} = options!(opts)

    with {:ok, offer} <- Offer.make(gate, permits, timeout) do
      {:ok, Offer.hand_over(offer, fn -> create(offer, fun, tie, spawn_opt) end)}
    end
  end

  defp options!([]), do: {1, 0, []}

  defp options!(opts) do
    opts = Options.known!(opts, @options)

    {Options.permits!(Keyword.get(opts, :permits, 1)), Options.timeout!(Keyword.get(opts, :timeout, 0)),
     Options.spawn_opt!(Keyword.get(opts, :spawn_opt, []))}
  end

  defp create(offer, fun, tie, spawn_opt) do
    :erlang.spawn_opt(__MODULE__, :init, [offer, fun], tie ++ spawn_opt)
  catch
    :error, :badarg -> Options.invalid_spawn_opt!(spawn_opt)
  end

  @doc false
  @spec init(Offer.t(), fun) :: term
  def init(offer, fun) do
    case Offer.adopt(offer) do
      :ok -> fun.()
      :revoked -> :ok
    end
  end
end
