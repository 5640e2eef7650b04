# Most tests kill processes or let them crash, and the VM logs that. `capture_log` shows the log
# of a test only if that test fails. The timeout of `assert_receive` is 100 ms by default, which
# is too short on a busy machine.
slowness = Penstock.PoolCase.slowness()
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000 * slowness, timeout: 60_000 * slowness)

# The tests of servers need applications of OTP that Penstock does without, and Cowboy. Mix has taken
# those from the code path.
for ebin <- Path.wildcard("#{:code.lib_dir()}/*/ebin"), do: Code.append_path(ebin)

# Without PENSTOCK_EBIN, the tests of Penstock.Plug run on a stand-in for Plug, and those that need
# Bandit or Phoenix are left out. PENSTOCK_EBIN names the directories of the compiled modules of the
# real ones, with colons between them. `script/test --only plug` runs these tests alone.
if ebins = System.get_env("PENSTOCK_EBIN") do
  for ebin <- String.split(ebins, ":"), do: true = Code.prepend_path(ebin)
  # The stand-in may have been loaded by now.
  for module <- [Plug.Conn, Plug.Conn.AlreadySentError, Plug.Conn.InvalidHeaderError], do: :code.delete(module)
  {:ok, _apps} = Application.ensure_all_started(:plug)
end

if not Code.ensure_loaded?(:cowboy), do: ExUnit.configure(exclude: [:cowboy])

# Adds the totals of this run to the file that .ci/run reads, always in the same form. The
# summary that ExUnit prints differs from version to version.
if file = System.get_env("PENSTOCK_TEST_TOTALS") do
  ExUnit.after_suite(fn %{total: total, failures: failed, skipped: skipped, excluded: excluded} ->
    passed = total - failed - skipped - excluded
    File.write!(file, "#{passed} passed, #{failed} failed, #{skipped} skipped\n", [:append])
  end)
end
