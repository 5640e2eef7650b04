defmodule Penstock.View.Key do
  # Shows keys to people, in the same text wherever they look.
  @moduledoc false

  alias Penstock.{IP, Options}

  # Returns the text of a key: an address if it is one of `Penstock.IP.key/2`.
  @spec show(term) :: String.t()
  def show({version, prefix, bits} = key) when version in [:v4, :v6] and is_integer(prefix) and is_integer(bits) do
    IP.to_string(key)
  rescue
    ArgumentError -> Options.show(key)
  end

  def show(key), do: Options.show(key)
end
