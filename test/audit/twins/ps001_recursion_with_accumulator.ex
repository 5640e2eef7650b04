# expects: nothing
defmodule Mail.Fanout do
  @moduledoc "Hands a message to each member of a list, at most ten at once."

  @at_once 10

  def fanout(members, message), do: start(members, message, [], [])

  defp start([], _message, tasks, done), do: Enum.map(tasks, &Task.await/1) ++ done

  defp start(members, message, tasks, done) when length(tasks) >= @at_once do
    start(members, message, [], Enum.map(tasks, &Task.await/1) ++ done)
  end

  defp start([member | rest], message, tasks, done) when length(tasks) < @at_once do
    task = Task.async(fn -> hand(member, message) end)
    start(rest, message, [task | tasks], done)
  end

  defp hand(member, message) do
    case Req.post(member.inbox, body: message) do
      {:ok, _response} -> {member.id, :delivered}
      {:error, reason} -> {member.id, reason}
    end
  end
end
