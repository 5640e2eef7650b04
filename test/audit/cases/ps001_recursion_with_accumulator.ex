# expects: PS001 high line 10
defmodule Mail.Fanout do
  @moduledoc "Hands a message to each member of a list, and collects the answers."

  def fanout(members, message), do: start(members, message, [])

  defp start([], _message, tasks), do: Enum.map(tasks, &Task.await/1)

  defp start([member | rest], message, tasks) do
    task = Task.async(fn -> hand(member, message) end)
    start(rest, message, [task | tasks])
  end

  defp hand(member, message) do
    case Req.post(member.inbox, body: message) do
      {:ok, _response} -> {member.id, :delivered}
      {:error, reason} -> {member.id, reason}
    end
  end
end
