# Most tests kill processes, so the log of a test is shown only if the test fails. An awaited
# message can take longer on a busy machine than the 100 ms that ExUnit waits by default.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000)

# Writes the totals for .ci/run in one form, because that of ExUnit differs from version to
# version.
if file = System.get_env("PENSTOCK_TEST_TOTALS") do
  ExUnit.after_suite(fn %{total: total, failures: failed, skipped: skipped, excluded: excluded} ->
    passed = total - failed - skipped - excluded
    File.write!(file, "#{passed} passed, #{failed} failed, #{skipped} skipped\n", [:append])
  end)
end
