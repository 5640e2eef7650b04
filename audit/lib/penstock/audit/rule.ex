defmodule Penstock.Audit.Rule do
  @moduledoc false
  # A rule of the audit. A rule for code has `check/1`, a rule for configuration `check_file/1`.

  alias Penstock.Audit.Finding

  @callback id() :: String.t()
  @callback title() :: String.t()
  @callback why() :: String.t()
  @callback default_severity() :: Finding.severity()
  @callback check(module :: struct) :: [Finding.t()]
  @callback check_file(file :: struct) :: [Finding.t()]

  @optional_callbacks check: 1, check_file: 1
end
