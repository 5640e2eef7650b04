defmodule Penstock.Top.Connection do
  # Connects this VM to a node, as a hidden node, and says why if that fails.
  #
  # The VM does not listen for connections. So it needs no epmd, and the host in its name has no meaning.
  @moduledoc false

  # A host that drops packets must not hold the message back for minutes.
  @epmd_timeout 3_000

  # An atom has at most 255 characters, and a name gets a host.
  @most_bytes 180

  @type option :: {:name | :sname | :cookie, String.t()}

  # Returns the node that is connected, or why there is none, as a sentence for people.
  @spec open(String.t(), [option]) :: {:ok, node} | {:error, String.t()}
  def open(text, opts) do
    with {:ok, name, host} <- split(text),
         :ok <- one_name(opts),
         :ok <- short_enough(opts),
         :ok <- start(domain(host, opts), opts[:name] || opts[:sname]),
         do: connect(:"#{name}@#{host}", name, host, opts[:cookie])
  end

  # A node is named in full, or without its host, which is then this machine.
  defp split(text) do
    {:ok, here} = :inet.gethostname()

    case String.split(text, "@") do
      _long when byte_size(text) > @most_bytes -> {:error, "NODE is too long: #{Penstock.Options.show(text)}"}
      [name] when name != "" -> split_checked(name, List.to_string(here), text)
      [name, host] when name != "" and host != "" -> split_checked(name, host, text)
      _other -> invalid(text)
    end
  end

  defp split_checked(name, host, text) do
    if String.valid?(name) and name =~ ~r/\A[\w.-]+\z/u and host =~ ~r/\A[\w.:-]+\z/,
      do: {:ok, name, host},
      else: invalid(text)
  end

  defp invalid(text),
    do: {:error, "expected NODE to be a name such as my_app@my-host, got: #{Penstock.Options.show(text)}"}

  defp one_name(opts) do
    if opts[:name] && opts[:sname], do: {:error, "--name and --sname exclude each other"}, else: :ok
  end

  defp short_enough(opts) do
    case for {option, text} <- opts, option in [:name, :sname, :cookie], byte_size(text) > @most_bytes, do: option do
      [] -> :ok
      [option | _more] -> {:error, "--#{option} has more than #{@most_bytes} bytes"}
    end
  end

  # A host with a dot belongs to a long name. Nodes with long and with short names do not connect.
  defp domain(host, opts) do
    cond do
      opts[:name] -> :longnames
      opts[:sname] -> :shortnames
      host =~ ~r/[.:]/ -> :longnames
      true -> :shortnames
    end
  end

  # A VM that was started with a name keeps it.
  defp start(domain, name) do
    if Node.alive?(), do: :ok, else: start_net(domain, name)
  end

  defp start_net(domain, name) do
    own = String.to_atom(name || own_name(domain))

    case :net_kernel.start(own, %{name_domain: domain, hidden: true, dist_listen: false}) do
      {:ok, _pid} -> :ok
      {:error, reason} -> {:error, "this VM cannot become a node: #{Penstock.Options.show(reason)}"}
    end
  end

  # Two tasks that run at once need different names. A long name needs a host with a dot.
  defp own_name(domain) do
    number = Integer.to_string(:rand.uniform(0xFFFF_FFFF), 36)
    "penstock_top_#{String.downcase(number)}@#{if domain == :longnames, do: "127.0.0.1", else: "localhost"}"
  end

  defp connect(node, name, host, cookie) do
    if cookie, do: Node.set_cookie(node, String.to_atom(cookie))
    if Node.connect(node) == true, do: {:ok, node}, else: {:error, "cannot connect to #{node}: #{why(name, host)}"}
  end

  # Asks the epmd of the host, which knows the names of its nodes.
  defp why(name, host) do
    task = Task.async(fn -> :erl_epmd.names(String.to_charlist(host)) end)

    case Task.yield(task, @epmd_timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, {:ok, names}} -> registered(name, host, Enum.map(names, fn {known, _port} -> List.to_string(known) end))
      {:ok, {:error, :address}} -> "the host #{host} has no epmd, so it has no node, or its port 4369 is closed"
      {:ok, {:error, reason}} -> "the host #{host} cannot be asked for its nodes (#{Penstock.Options.show(reason)})"
      _no_answer -> "the host #{host} does not answer"
    end
  end

  defp registered(name, host, names) do
    if name in names do
      "a node of that name runs, but refuses. Does it have the same cookie (--cookie, or ~/.erlang.cookie), and " <>
        "the same kind of name? A node with a long name (--name) has a host with a dot, one with a short name has none"
    else
      "no node #{name} runs on #{host}, which has #{if names == [], do: "no node", else: Enum.join(names, ", ")}"
    end
  end
end
