# The modules of tests that guides/testing.md shows, as they stand. Each is defined here, so ExUnit
# runs it with the others.
guide = Path.expand("../../../../guides/testing.md", __DIR__)

modules =
  for %{kind: :own_gates, code: code, line: line} <- Penstock.Documents.blocks(File.read!(guide), guide),
      {module, _bytes} <- Code.compile_string(String.duplicate("\n", line - 1) <> code, guide),
      do: module

if modules == [], do: raise("#{guide} has no block of tests that own gates")
