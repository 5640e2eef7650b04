defmodule Penstock.Audit.Components do
  @moduledoc false
  # The strongly connected components of a graph: nodes that reach each other.

  @doc "Returns the number of the component of each node, where `graph` maps a node to its successors."
  @spec strong(%{term => [term]}) :: %{term => non_neg_integer}
  def strong(graph) do
    order = graph |> Map.keys() |> Enum.reduce({MapSet.new(), []}, &visit([{&1, :enter}], graph, &2)) |> elem(1)
    reverse = for {from, list} <- graph, to <- list, reduce: %{}, do: (acc -> Map.update(acc, to, [from], &[from | &1]))

    {components, _count} =
      Enum.reduce(order, {%{}, 0}, fn node, {components, count} ->
        if Map.has_key?(components, node),
          do: {components, count},
          else: {mark([node], count, reverse, components), count + 1}
      end)

    components
  end

  # Depth first, with a list in place of the stack; a node is put in front when it is left.
  defp visit([], _graph, acc), do: acc
  defp visit([{node, :leave} | rest], graph, {seen, order}), do: visit(rest, graph, {seen, [node | order]})

  defp visit([{node, :enter} | rest], graph, {seen, order}) do
    if MapSet.member?(seen, node) do
      visit(rest, graph, {seen, order})
    else
      next = for to <- Map.get(graph, node, []), not MapSet.member?(seen, to), do: {to, :enter}
      visit(next ++ [{node, :leave} | rest], graph, {MapSet.put(seen, node), order})
    end
  end

  defp mark([], _number, _reverse, components), do: components

  defp mark([node | rest], number, reverse, components) do
    if Map.has_key?(components, node) do
      mark(rest, number, reverse, components)
    else
      mark(Map.get(reverse, node, []) ++ rest, number, reverse, Map.put(components, node, number))
    end
  end
end
