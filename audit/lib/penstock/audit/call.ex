defmodule Penstock.Audit.Call do
  @moduledoc false
  # A call in the body of a function, with the places that enclose it.
  #
  # `frames` lists these places from the inside to the outside, each as `{id, kind, data}`:
  #
  #   * `:loop` runs its body once per element of a collection, whose `Origin` is the data
  #   * `:receive` is a clause of `receive`
  #   * `:spawned` runs in a process of its own
  #   * `:gate` runs behind a gate or a pool
  #   * `:branch` runs in one of several cases
  #   * `:absent` runs if a condition does not hold
  #   * `:guard` runs on a condition that looks at a limit (`:limit`), at one thing that may exist
  #     already (`:unset`), at one thing per key (`:exists`), or compares with a list (`:member`)
  #
  # `target` is the name of the supervisor that the call starts a child under, if the code has it.
  # `child` is the module of that child, if the code has it.
  # `use` tells what becomes of the result: `:discarded`, `:returned`, `{:bound, names}` or `:used`.

  defstruct mfa: nil,
            args: [],
            origins: [],
            line: 1,
            column: nil,
            node: nil,
            frames: [],
            clause: 0,
            use: :used,
            kind: :call,
            target: nil,
            child: nil

  @type t :: %__MODULE__{
          mfa: {module | nil, atom, arity},
          args: [Macro.t()],
          origins: [tuple],
          line: pos_integer,
          column: pos_integer | nil,
          node: Macro.t(),
          frames: [{reference | integer, atom, term}],
          clause: non_neg_integer,
          use: :discarded | :returned | {:bound, [atom]} | :used,
          kind: :call | :capture | :macro,
          target: atom | nil,
          child: module | nil
        }
end
