defmodule Penstock.View.ProcessTest do
  use Penstock.PoolCase, async: true

  alias Penstock.{Garbage, JSONReader, View}
  alias Penstock.View.JSON

  # A server of OTP, whose start is known by its dictionary only.
  defmodule Server do
    use GenServer

    @impl true
    def init(dictionary) do
      for {key, value} <- dictionary, do: Process.put(key, value)
      {:ok, nil}
    end
  end

  describe "parse/1" do
    test "takes the text of a local pid" do
      assert View.Process.parse(View.Process.show(self())) == {:ok, self()}
    end

    test "refuses all else, and makes no atom" do
      texts =
        ["", "0.1.0", "<0.1>", "<0.1.0", "<1.1.0>", "<0.-1.0>", "<0.1.0>\n", " <0.1.0>", "#PID<0.1.0>"] ++
          ["<0.99999999999.0>", "<0.9999999999.9999999999>", "<a@b.1.0>", "<0.1.0>x", "<0.1.0.0>", <<255>>, nil, 1]

      for text <- texts, do: assert(View.Process.parse(text) == :error)
      before = :erlang.system_info(:atom_count)
      for n <- 1..500, do: assert(View.Process.parse("<n#{n}@host#{n}.1.0>") == :error)
      assert :erlang.system_info(:atom_count) - before < 500
    end
  end

  describe "view/1" do
    test "tells what a process does, without arguments" do
      secret = "secret-#{System.unique_integer()}"
      pid = spawn_link(fn -> wait_with(secret) end)
      eventually(fn -> Process.info(pid, :status) == {:status, :waiting} end)
      send(pid, secret)

      # The message wakes the process up for an instant.
      view = eventually(fn -> with %{"status" => "running"} <- View.Process.view(pid), do: nil end)
      assert %{"alive" => true, "name" => nil, "status" => "waiting", "messages" => 1} = view
      assert view["pid"] == View.Process.show(pid)
      assert view["current"] == "Penstock.View.ProcessTest.wait_with/1"
      assert [first | _] = view["stack"]
      assert first =~ ~r{\APenstock\.View\.ProcessTest\.wait_with/1 \(.*process_test\.exs:\d+\)\z}
      assert is_integer(view["memory"]) and is_integer(view["reductions"])
      json = view |> JSON.encode() |> IO.iodata_to_binary()
      refute json =~ secret
      assert JSONReader.decode!(json) == view
    end

    test "tells that a process is dead" do
      pid = spawn(fn -> :ok end)
      await_down(Process.monitor(pid))
      assert View.Process.view(pid) == %{"pid" => View.Process.show(pid), "alive" => false}
    end

    test "shows a hostile name as text" do
      name = :"a\"\n<script>#{System.unique_integer()}"
      pid = start_supervised!({Agent, fn -> nil end})
      Process.register(pid, name)
      assert View.Process.view(pid)["name"] == inspect(name)
    end

    test "names the function that a server of OTP was started for, where one entry can be read" do
      pid = start_supervised!(%{id: :server, start: {GenServer, :start_link, [Server, []]}})
      one_entry? = match?({_, _}, catch_error_of(fn -> :erlang.process_info(pid, {:dictionary, :any}) end))
      expected = if one_entry?, do: "Penstock.View.ProcessTest.Server.init/1", else: ":proc_lib.init_p/5"
      assert View.Process.view(pid)["initial_call"] == expected
    end

    # A dictionary of shared terms is small in its process, and takes gigabytes in a copy. The reader
    # could not have that copy: it is killed at 8 MB.
    test "copies neither the dictionary nor the messages" do
      pid =
        spawn_link(fn ->
          Process.put(:shared, Enum.reduce(1..26, [1], fn _, term -> [term, term] end))
          receive do: (:end -> :ok)
        end)

      for _ <- 1..100, do: send(pid, Enum.to_list(1..10_000))
      eventually(fn -> Process.info(pid, :status) == {:status, :waiting} end)

      test = self()
      small = [max_heap_size: %{size: 1_000_000, kill: true, error_logger: false}]
      {_reader, ref} = :erlang.spawn_opt(fn -> send(test, View.Process.view(pid)) end, [:monitor | small])
      assert await_down(ref) == :normal
      assert_received %{"alive" => true, "messages" => 100}
    end

    test "refuses pids of other nodes" do
      [remote, of_an_earlier_start] = Garbage.remote_pids()
      assert_raise FunctionClauseError, fn -> View.Process.view(remote) end
      assert %{"alive" => false} = View.Process.view(of_an_earlier_start)
    end
  end

  defp wait_with(secret) do
    receive do: ({:end, ^secret} -> :ok)
    secret
  end

  defp catch_error_of(fun) do
    fun.()
  rescue
    ArgumentError -> :error
  end
end
