# Most tests kill processes or let them crash, and the VM logs that. `capture_log` shows the log
# of a test only if that test fails. The timeout of `assert_receive` is 100 ms by default, which
# is too short on a busy machine.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000)

# Adds the totals of this run to the file that .ci/run reads, always in the same form. The
# summary that ExUnit prints differs from version to version.
if file = System.get_env("PENSTOCK_TEST_TOTALS") do
  ExUnit.after_suite(fn %{total: total, failures: failed, skipped: skipped, excluded: excluded} ->
    passed = total - failed - skipped - excluded
    File.write!(file, "#{passed} passed, #{failed} failed, #{skipped} skipped\n", [:append])
  end)
end
