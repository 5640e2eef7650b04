defmodule Penstock.Top.Source do
  # Gets a report from a node, which makes it, in one call. Runs in the process that calls it.
  @moduledoc false

  alias Penstock.View.Report

  # A node that needs longer has no answer.
  @timeout 5_000

  @type error ::
          :timeout
          | :noconnection
          | :no_penstock
          | {:other_contract, pos_integer, String.t()}
          | {:failed, String.t()}

  @spec fetch(node, Report.sizes(), pos_integer) :: {:ok, Report.t()} | {:error, error}
  def fetch(node, sizes, timeout \\ @timeout) do
    case :erpc.call(node, Report, :take, [Report.contract(), sizes], timeout) do
      {:ok, report} -> {:ok, report}
      {:other_contract, _contract, _version} = other -> {:error, other}
    end
  catch
    :error, {:erpc, reason} when reason in [:timeout, :noconnection] -> {:error, reason}
    :error, {:exception, :undef, [{Report, _take, _args, _place} | _]} -> {:error, :no_penstock}
    _kind, reason -> {:error, {:failed, Penstock.Options.show(reason)}}
  end

  # Returns the error as a sentence for people.
  @spec explain(node, error) :: String.t()
  def explain(node, :timeout), do: "#{node} has not answered within #{@timeout} ms"
  def explain(node, :noconnection), do: "#{node} is not connected any more: it has stopped, or the network is cut"

  def explain(node, :no_penstock),
    do: "#{node} has no Penstock, or one that is too old for this page"

  def explain(node, {:other_contract, contract, version}) do
    "#{node} runs Penstock #{version}, whose pages have the form #{contract}, this one reads the form " <>
      "#{Report.contract()}: use the version of Penstock that the node runs"
  end

  def explain(node, {:failed, reason}), do: "#{node} could not make the report: #{reason}"
end
