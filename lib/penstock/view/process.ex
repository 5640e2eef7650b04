defmodule Penstock.View.Process do
  # Tells people what a process of this node does now. The text that names the process comes from
  # a client, so it is read strictly and makes no atom.
  #
  # Nothing large is copied: neither messages nor a dictionary, whose size the process alone
  # decides. The stack is without arguments, and as deep as the VM's `backtrace_depth`.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.View.InitialCall

  @typedoc "Plain terms for `Penstock.View.JSON`."
  @type view :: %{String.t() => term}

  @local ~r/\A<0\.([0-9]{1,10})\.([0-9]{1,10})>\z/

  # `:monitored_by` must never be read here: on the OTPs of today, that can end the VM while a
  # native resource that monitors the process goes away.
  @items [
    :registered_name,
    :initial_call,
    :current_function,
    :current_stacktrace,
    :status,
    :message_queue_len,
    :memory,
    :reductions
  ]

  # Functions that begin a process of OTP. The function of the user comes after them.
  @starters [{:proc_lib, :init_p, 5}, {:proc_lib, :init_p, 3}]

  @doc false
  # Returns the pid that a text such as "<0.123.0>" names.
  @spec parse(term) :: {:ok, pid} | :error
  def parse(text) do
    if is_binary(text) and text =~ @local, do: {:ok, :erlang.list_to_pid(String.to_charlist(text))}, else: :error
  rescue
    # The numbers are too large for a pid.
    ArgumentError -> :error
  end

  @spec show(pid) :: String.t()
  def show(pid), do: List.to_string(:erlang.pid_to_list(pid))

  @spec view(pid) :: view
  def view(pid) when node(pid) == node() do
    case Process.info(pid, @items) do
      nil -> %{"pid" => show(pid), "alive" => false}
      info -> pid |> alive(Map.new(info)) |> Map.merge(%{"pid" => show(pid), "alive" => true})
    end
  end

  defp alive(pid, info) do
    %{
      "name" => name(info.registered_name),
      "initial_call" => mfa(initial_call(pid, info.initial_call)),
      "current" => mfa(info.current_function),
      "status" => Atom.to_string(info.status),
      "messages" => info.message_queue_len,
      "memory" => info.memory,
      "reductions" => info.reductions,
      "stack" => Enum.map(info.current_stacktrace, &frame/1)
    }
  end

  defp name([]), do: nil
  defp name(name), do: Options.show(name)

  defp initial_call(pid, starter) when starter in @starters, do: InitialCall.of(pid) || starter
  defp initial_call(_pid, mfa), do: mfa

  defp mfa({module, function, arity}), do: Exception.format_mfa(module, function, arity)
  # The process runs native code, or has not begun.
  defp mfa(_undefined), do: nil

  defp frame({module, function, arity, place}) do
    call = mfa({module, function, if(is_list(arity), do: length(arity), else: arity)})

    case {place[:file], place[:line]} do
      {file, line} when is_list(file) and is_integer(line) -> "#{call} (#{file}:#{line})"
      _unknown -> call
    end
  end
end
