# Most tests kill processes or let them crash, and the VM logs that. `capture_log` shows the log
# of a test only if that test fails. The timeout of `assert_receive` is 100 ms by default, which
# is too short on a busy machine.
options = [capture_log: true, assert_receive_timeout: 10_000]

# The tests with the tag :plug need Plug, Phoenix and servers. PENSTOCK_EBIN names the directories of
# their compiled modules, with colons between them, and `script/test --only plug` runs these tests.
# They also need applications of OTP that Penstock does without, and that Mix has taken from the code
# path. Without PENSTOCK_EBIN these tests are left out.
options =
  case System.get_env("PENSTOCK_EBIN", "") do
    "" ->
      [{:exclude, [:plug]} | options]

    directories ->
      directories |> String.split(":") |> Enum.each(&Code.prepend_path/1)
      "#{:code.lib_dir()}/*/ebin" |> Path.wildcard() |> Enum.each(&Code.append_path/1)
      options
  end

ExUnit.start(options)

# Mix removes applications that the project does not depend on from the code path.
for app <- ~w(asn1 public_key ssl ranch cowlib cowboy), ebin <- Path.wildcard("#{:code.lib_dir()}/#{app}-*/ebin") do
  Code.append_path(ebin)
end

# With PENSTOCK_EBIN=dir:dir, the tests of Penstock.Plug run on the Plug in these directories, in
# place of the stand-in, and the tests that need Plug, Bandit and Phoenix run too.
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
