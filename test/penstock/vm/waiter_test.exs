defmodule Penstock.VM.WaiterTest do
  use ExUnit.Case, async: true

  alias Penstock.VM.{Beat, Waiter}

  @interval 1_000

  # The sampler can look at a beat just after the waiter has run for it, or just before.
  test "a wait of more than half an interval is seen at the beat after its end" do
    before = links()
    figures = Waiter.start_link(@interval)
    [waiter] = links() -- before
    :erlang.suspend_process(waiter)
    beat = Beat.next(@interval)
    Beat.sleep_until(beat + div(@interval, 2) + 20)
    :erlang.resume_process(waiter)
    Beat.sleep_until(Beat.next(@interval))
    :erlang.yield()
    assert Waiter.delay(figures) >= div(@interval, 2) * 1_000
  end

  defp links do
    {:links, links} = Process.info(self(), :links)
    links
  end
end
