# Log lines are shown for tests that fail only: most of the suite kills processes. What is awaited comes: how soon is up to
# the machine, and 100 ms, the default, is not much where others are busy.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000)

# The totals in a form of our own for .ci/run, because ExUnit's differs from version to version.
if file = System.get_env("PENSTOCK_TEST_TOTALS") do
  ExUnit.after_suite(fn %{total: total, failures: failed, skipped: skipped, excluded: excluded} ->
    passed = total - failed - skipped - excluded
    File.write!(file, "#{passed} passed, #{failed} failed, #{skipped} skipped\n", [:append])
  end)
end
