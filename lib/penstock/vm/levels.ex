defmodule Penstock.VM.Levels do
  # The level of each resource of the VM, in one word that the native side keeps:
  #
  #   * the lowest two bits are the pressure, which gates read
  #   * above them, each resource has two bits for its level, and one that says whether it sheds
  #   * the highest bit says that the limit of processes needs no more looks
  #
  # So a restarted sampler knows each level, and leaves it only 0.05 below its share.
  @moduledoc false

  import Bitwise

  @typedoc "0 for normal, 1 for elevated, 2 for high, 3 for critical."
  @type level :: 0..3
  @type word :: non_neg_integer
  @typedoc "The shares from which a resource is elevated, high and critical."
  @type shares :: {float, float, float}

  @names [:normal, :elevated, :high, :critical]
  @resources [:processes, :ports, :atoms, :ets, :memory, :run_queue, :cpu_stall, :memory_stall]
  @places Map.new(Enum.with_index(@resources, fn resource, n -> {resource, 3 * n + 2} end))

  @level_bits 0b11
  @sheds_bit 0b100
  @advised_bit 1 <<< 31

  # A level is left when the share is this far below that of the level.
  @hysteresis 0.05
  # Shares are quotients, so a share that is meant to be 0.05 below may come out a little higher.
  @rounding 1.0e-9

  # Returns all resources that can have a level.
  @spec resources() :: [atom]
  def resources, do: @resources

  @spec name(level) :: Penstock.VM.pressure()
  def name(level), do: Enum.at(@names, level)

  @spec number(Penstock.VM.pressure()) :: level
  def number(name), do: Enum.find_index(@names, &(&1 == name))

  @spec pressure(word) :: level
  def pressure(word), do: word &&& @level_bits

  @spec of(word, atom) :: level
  def of(word, resource), do: place(word, resource) &&& @level_bits

  @spec advised?(word) :: boolean
  def advised?(word), do: (word &&& @advised_bit) != 0

  # Returns the resources that cause the pressure.
  @spec because(word) :: [atom]
  def because(word) do
    cause = @sheds_bit ||| pressure(word)
    if pressure(word) == 0, do: [], else: Enum.filter(@resources, &((place(word, &1) &&& 0b111) == cause))
  end

  # Returns the word with these levels. The pressure is the worst level of the resources that shed.
  @spec word(%{atom => level}, [atom], boolean) :: word
  def word(levels, shedding, advised?) do
    word = if advised?, do: @advised_bit, else: 0

    {word, pressure} =
      Enum.reduce(levels, {word, 0}, fn {resource, level}, {word, pressure} ->
        if resource in shedding,
          do: {word ||| (level ||| @sheds_bit) <<< @places[resource], max(pressure, level)},
          else: {word ||| level <<< @places[resource], pressure}
      end)

    word ||| pressure
  end

  defp place(word, resource), do: word >>> @places[resource]

  # Returns the share below which a resource is normal, even if it had a level before.
  @spec least(shares) :: float
  def least({elevated, _high, _critical}), do: elevated - @hysteresis

  # Returns the level of a share, of a resource that had the level `before`.
  @spec next(float, level, shares) :: level
  def next(share, before, shares) do
    left_not = reached(share + @hysteresis - @rounding, shares)
    max(reached(share, shares), min(before, left_not))
  end

  defp reached(share, {_elevated, _high, critical}) when share >= critical, do: 3
  defp reached(share, {_elevated, high, _critical}) when share >= high, do: 2
  defp reached(share, {elevated, _high, _critical}) when share >= elevated, do: 1
  defp reached(_share, _shares), do: 0
end
