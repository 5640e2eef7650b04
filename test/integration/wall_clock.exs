# Checks that limiters and bans follow the monotonic clock, not the wall clock. wall_clock.sh runs
# this program in a VM with libfaketime, and passes it the path of a file. The program writes an
# offset into the file, and libfaketime adds it to the wall clock only.
[file] = System.argv()

alias Penstock.{Ban, RateLimiter}

{:ok, _} = RateLimiter.start_link(name: :wall, limit: 100, per: 1_000, burst: 10)
{:ok, _} = Ban.start_link(name: :bans, failures: 1, ban_for: 60_000)
{:banned, 60_000} = Ban.record_failure(:bans, "key")

defmodule Hammer do
  # Hits until the first denial after the time `until`. So the hits are all that the passed time
  # allows. Returns the number of allowed hits, and the time of that denial.
  def run(until, allowed) do
    now = System.monotonic_time(:millisecond)

    case RateLimiter.hit(:wall, "key") do
      {:allow, _} -> run(until, allowed + 1)
      {:deny, _} when now > until -> {allowed, now}
      {:deny, _} -> run(until, allowed)
    end
  end
end

began = System.monotonic_time(:millisecond)
{first, _at} = Hammer.run(began, 0)

for {step, hours} <- [{"back", -1}, {"forward", 1}, {"forward again", 2}] do
  wall = System.os_time(:second)
  File.write!(file, "#{if hours < 0, do: "", else: "+"}#{hours * 3_600}")
  # The step takes effect at once, because the VM reads the file each time it reads the wall
  # clock.
  stepped = System.os_time(:second) - wall
  from = System.monotonic_time(:millisecond)
  {allowed, at} = Hammer.run(from + 1_000, 0)
  {:banned, ms} = Ban.check(:bans, "key")
  IO.puts("#{step}: the wall clock moved by #{stepped} s, #{allowed} allowed in #{at - from} ms, banned for #{ms} ms")

  # The burst is used up, so only the passed time allows hits: one for each 10 ms.
  unless abs(stepped) >= 3_000, do: raise("the wall clock was not stepped")
  unless abs(allowed - div(at - from, 10)) <= 2, do: raise("the allowed hits do not match the passed time")
  unless ms in 50_000..60_000, do: raise("the ban has another remaining time")
end

unless first in 10..20, do: raise("the first hits allowed are not the burst")
IO.puts("limits follow another clock")
