//! Races of the calls of a keyed pool. One lock guards all that a shard knows of its keys. So
//! these models check what that lock does not order: the records of the processes, the drainers,
//! and the counts that all shards share. They also check the calls that take the lock more than
//! once.

use std::sync::Arc;

use loom::thread::JoinHandle;
use penstock_core::{Adoption, Answer, Cancelled, KeyParked, KeyRefusal, KeyRestart, KeyedDrain, KeyedSettings, Kind};
use penstock_core::{NotHeld, PoolKey, Reusable};

use crate::explore::explore;
use crate::keyed_stage::{Name, Process, Stage, settings, tag};

/// Settings of a pool of two shards.
fn two_shards(limit: u32) -> KeyedSettings {
    settings(limit, 8)
}

/// Returns two keys that are in different shards of a pool of two shards.
fn keys_of_two_shards() -> [u64; 2] {
    let upper = |key: u64| tag(key).0 >> 63 == 1;
    let other = (1..8).find(|&key| upper(key) != upper(0)).expect("tags spread");
    [0, other]
}

fn no_overdraft(limit: u32, max_keys: u32) -> KeyedSettings {
    KeyedSettings { max_overdraft: 0, ..settings(limit, max_keys) }
}

/// Runs an act of a process on a thread of its own.
fn spawn<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> JoinHandle<T> {
    let process = process.clone();
    loom::thread::spawn(move || act(process))
}

/// Runs the act of a third process on a thread of its own, and waits for its end; see
/// [`crate::meanwhile`].
fn meanwhile<T: 'static>(process: &Process, act: impl FnOnce(Process) -> T + 'static) -> T {
    spawn(process, act).join().unwrap()
}

/// Asks until the pool admits or refuses the request.
fn ask(process: &Process, key: u64, n: u32) -> bool {
    loop {
        match process.try_acquire(key, n) {
            Ok(_) => return true,
            Err(KeyRefusal::Again) => {}
            Err(_) => return false,
        }
    }
}

/// Returns `true` if a process that parked has the permits.
fn has(process: &Process, parked: KeyParked) -> bool {
    match parked {
        KeyParked::Granted(_) => process.answers().is_empty(),
        KeyParked::Waiting(_) => process.was_granted(),
        no => panic!("neither admitted nor parked: {no:?}"),
    }
}

fn one<'a>(holders: &[(bool, &'a Process, u64)]) -> Vec<(&'a Process, u64, u32)> {
    holders.iter().filter(|(has, ..)| *has).map(|&(_, process, key)| (process, key, 1)).collect()
}

/// The last permit of a key comes back while a waiter parks.
#[test]
fn release_against_parking() {
    explore(|| {
        let (stage, [holder, waiter]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        let releasing = spawn(&holder, |holder| holder.release(1, 1));
        let parked = waiter.park(1, 1);
        assert_eq!(releasing.join().unwrap(), Ok(()));
        assert!(has(&waiter, parked));
        stage.at_rest(&[(&waiter, 1, 1)]);
    });
}

/// A waiter cancels while the permit is granted to it. The next waiter gets what it leaves.
#[test]
fn grant_against_cancel() {
    explore(|| {
        let (stage, [holder, first, second]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        let wait = first.wait(1, 1);
        second.wait(1, 1);
        let releasing = spawn(&holder, |holder| holder.release(1, 1));
        let cancelled = first.cancel(wait);
        assert_eq!(releasing.join().unwrap(), Ok(()));
        assert_eq!(first.was_granted(), cancelled == Cancelled::TooLate);
        assert_eq!(second.was_granted(), cancelled == Cancelled::Yes);
        stage.at_rest(&one(&[(first.was_granted(), &first, 1), (second.was_granted(), &second, 1)]));
    });
}

/// A large request at the head is cancelled while a permit comes back that suffices for the next.
#[test]
fn cancel_of_the_head_against_a_release() {
    explore(|| {
        let (stage, [holder, head, next]) = Stage::with(settings(2, 2));
        holder.hold(1, 2);
        let wait = head.wait(1, 2);
        next.wait(1, 1);
        let releasing = spawn(&holder, |holder| holder.release(1, 1));
        assert_eq!(head.cancel(wait), Cancelled::Yes);
        assert_eq!(releasing.join().unwrap(), Ok(()));
        assert!(next.was_granted());
        stage.at_rest(&[(&holder, 1, 1), (&next, 1, 1)]);
    });
}

/// A permit is granted to a waiter that dies. The monitor of the waiter, and the scan of a
/// refused caller, both find it dead. The permit comes back once.
#[test]
fn grant_against_the_death_of_the_waiter() {
    explore(|| {
        let (stage, [holder, waiter, asker]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        waiter.wait(1, 1);
        waiter.begin_exit();
        let releasing = spawn(&holder, |holder| holder.release(1, 1));
        let dying = spawn(&waiter, |waiter| waiter.finish_exit());
        let acquired = ask(&asker, 1, 1);
        assert_eq!(releasing.join().unwrap(), Ok(()));
        dying.join().unwrap();
        stage.at_rest(&one(&[(acquired, &asker, 1)]));
        assert!(acquired || ask(&asker, 1, 1));
    });
}

/// A waiter dies while it is granted, and another waits behind it.
#[test]
fn grant_against_the_death_of_the_waiter_before_another() {
    explore(|| {
        let (stage, [holder, waiter, next]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        waiter.wait(1, 1);
        next.wait(1, 1);
        let dying = spawn(&waiter, |waiter| waiter.die());
        assert_eq!(holder.release(1, 1), Ok(()));
        dying.join().unwrap();
        assert!(next.was_granted());
        stage.at_rest(&[(&next, 1, 1)]);
    });
}

/// A key loses its place while another process acquires it, and a third acquires another key,
/// which needs the place.
#[test]
fn the_end_of_a_key_against_its_return_and_a_new_key() {
    explore(|| {
        let (stage, [holder, same, other]) = Stage::with(settings(1, 1));
        holder.hold(1, 1);
        let releasing = spawn(&holder, |holder| holder.release(1, 1));
        let asking = spawn(&same, |same| ask(&same, 1, 1));
        let got_other = ask(&other, 2, 1);
        assert_eq!(releasing.join().unwrap(), Ok(()));
        let got_same = asking.join().unwrap();
        assert!(!got_same || !got_other, "there is one place");
        stage.at_rest(&one(&[(got_same, &same, 1), (got_other, &other, 2)]));
    });
}

/// The place of a key, and the lease of its waiter, serve another key while the waiter cancels by
/// the old id.
#[test]
fn a_stale_wait_against_the_next_use_of_its_place() {
    explore(|| {
        let (stage, [holder, waiter]) = Stage::with(settings(1, 1));
        holder.hold(1, 1);
        let wait = waiter.wait(1, 1);
        let releasing = spawn(&holder, |holder| {
            assert_eq!(holder.release(1, 1), Ok(()));
            ask(&holder, 2, 1) && holder.release(2, 1).is_ok() && ask(&holder, 2, 1)
        });
        let cancelled = waiter.cancel(wait);
        if cancelled == Cancelled::TooLate {
            assert_eq!(waiter.release_of(wait, 1, Kind::Manual), Ok(()), "the waiter was granted");
        }
        assert_eq!(waiter.cancel(wait), Cancelled::TooLate);
        // The next lease of the process may be in the same cell.
        let again = ask(&waiter, 2, 1);
        assert_eq!(waiter.release_of(wait, 1, Kind::Manual), Err(NotHeld), "the id names the earlier lease");
        let held = releasing.join().unwrap();
        stage.at_rest(&one(&[(held, &holder, 2), (again, &waiter, 2)]));
    });
}

/// The spawner hands over while the child adopts and ends its work.
#[test]
fn hand_over_against_adoption() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        let to = child.clone();
        let handing = spawn(&spawner, move |spawner| spawner.hand_over(offer, &to));
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            assert_eq!(child.end_work(), Ok(()), "the child runs with the offered permit");
            assert_eq!(child.end_work(), Err(NotHeld), "the work ends once");
        });
        let acquired = other.take(1, 1).is_ok();
        handing.join().unwrap();
        running.join().unwrap();
        stage.at_rest(&one(&[(acquired, &other, 1)]));
    });
}

/// The child adopts and dies while its spawner hands over: the permit comes back once, to a
/// waiter.
#[test]
fn hand_over_against_a_child_that_adopts_and_dies() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        other.wait(1, 1);
        let running = spawn(&child, move |child| {
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            child.die();
        });
        spawner.hand_over(offer, &child);
        running.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1, 1)]);
    });
}

/// The child dies while its spawner hands over. It has a record already in the second model, so
/// the spawner does not make the runtime watch it.
#[test]
fn hand_over_against_the_death_of_the_child() {
    for has_record in [false, true] {
        explore(move || {
            let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
            let offer = spawner.acquire_and_offer(1, 1);
            other.wait(1, 1);
            if has_record {
                child.hold(2, 1);
            }
            let dying = spawn(&child, |child| child.die());
            spawner.hand_over(offer, &child);
            dying.join().unwrap();
            stage.serve_deferred();
            assert!(other.was_granted());
            stage.at_rest(&[(&other, 1, 1)]);
        });
    }
}

/// The spawner dies while its child adopts: the child has the permit, or a waiter does.
#[test]
fn adoption_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        other.wait(1, 1);
        let dying = spawn(&spawner, |spawner| spawner.die());
        let adoption = child.adopt(offer);
        dying.join().unwrap();
        let adopted = adoption == Adoption::Adopted;
        assert_eq!(other.was_granted(), !adopted, "one process has the permit");
        stage.at_rest(&one(&[(adopted, &child, 1), (!adopted, &other, 1)]));
        assert_eq!(stage.sums().released_by_exit, u64::from(!adopted));
    });
}

/// The child adopts while a refused caller finds its spawner dead.
#[test]
fn adoption_against_a_scan_that_finds_the_spawner_dead() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        spawner.begin_exit();
        let asking = spawn(&other, |other| ask(&other, 1, 1));
        let adopted = child.adopt(offer) == Adoption::Adopted;
        let asked = asking.join().unwrap();
        assert!(asked != adopted, "one process has the permit");
        spawner.finish_exit();
        stage.at_rest(&one(&[(asked, &other, 1), (adopted, &child, 1)]));
    });
}

/// The spawner and the child die at once, in any order.
#[test]
fn death_of_the_child_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        other.wait(1, 1);
        let dying = spawn(&spawner, |spawner| spawner.die());
        let _ = child.adopt(offer);
        child.die();
        dying.join().unwrap();
        assert!(other.was_granted());
        stage.at_rest(&[(&other, 1, 1)]);
    });
}

/// The spawner hands over and dies while the child ends, as its supervisor reports.
#[test]
fn a_report_of_the_end_of_a_child_against_its_monitor() {
    explore(|| {
        let (stage, [spawner, child, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        spawner.hand_over(offer, &child);
        child.begin_exit();
        let dying = spawn(&child, |child| child.finish_exit());
        spawner.report_end_of(&child);
        let acquired = other.take(1, 1).is_ok();
        dying.join().unwrap();
        assert!(acquired, "a caller that reported the end finds the permit free");
        stage.at_rest(&[(&other, 1, 1)]);
    });
}

/// A supervisor claims the offer, and entrusts the permit to a child, while the spawner retracts.
#[test]
fn claim_against_retraction() {
    explore(|| {
        let (stage, [spawner, supervisor, child]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        let (of, to) = (spawner.clone(), child.clone());
        let claiming = spawn(&supervisor, move |supervisor| {
            let claimed = supervisor.claim(&of, offer);
            if let Some(id) = claimed {
                assert_eq!(supervisor.entrust(id, &to, 1), Ok(()));
            }
            claimed.is_some()
        });
        spawner.retract(offer);
        let claimed = claiming.join().unwrap();
        stage.at_rest(&one(&[(claimed, &child, 1)]));
    });
}

/// A supervisor claims the offer while the spawner dies.
#[test]
fn claim_against_the_death_of_the_spawner() {
    explore(|| {
        let (stage, [spawner, supervisor, other]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        other.wait(1, 1);
        let of = spawner.clone();
        let claiming = spawn(&supervisor, move |supervisor| supervisor.claim(&of, offer).is_some());
        spawner.die();
        let claimed = claiming.join().unwrap();
        assert_eq!(claimed, !other.was_granted(), "one process has the permit");
        stage.at_rest(&one(&[(claimed, &supervisor, 1), (!claimed, &other, 1)]));
    });
}

/// A supervisor claims an offer and entrusts the permit to a child that dies, and then dies
/// itself.
#[test]
fn entrusting_against_the_deaths_of_the_child_and_the_supervisor() {
    explore(|| {
        let (stage, [spawner, supervisor, child]) = Stage::with(settings(1, 2));
        let offer = spawner.acquire_and_offer(1, 1);
        let dying = spawn(&child, |child| child.die());
        let (of, to) = (spawner.clone(), child.clone());
        let claiming = spawn(&supervisor, move |supervisor| {
            let id = supervisor.claim(&of, offer).expect("the spawner leaves it");
            let _ = supervisor.entrust(id, &to, 1);
            supervisor.die();
        });
        let taken = spawner.take(1, 1).is_ok();
        dying.join().unwrap();
        claiming.join().unwrap();
        stage.at_rest(&one(&[(taken, &spawner, 1)]));
        assert_eq!(stage.sums().released_by_exit, 1);
    });
}

/// A process of two keys dies. Its monitor and the scans of two refused callers reap it at once.
#[test]
fn three_reapers_of_a_process_of_two_keys() {
    explore(|| {
        let (stage, [dead, first, second]) = Stage::with(settings(1, 3));
        dead.hold(1, 1);
        dead.hold(2, 1);
        dead.begin_exit();
        let dying = spawn(&dead, |dead| dead.finish_exit());
        let asking = spawn(&first, |first| ask(&first, 1, 1));
        assert!(ask(&second, 2, 1), "each scan finds the dead holder");
        assert!(asking.join().unwrap());
        dying.join().unwrap();
        stage.at_rest(&[(&first, 1, 1), (&second, 2, 1)]);
        assert_eq!(stage.sums().released_by_exit, 2);
    });
}

/// A process of more keys than one call ends dies. The deferred rest of its reap meets a scan.
#[test]
fn the_rest_of_a_reap_against_a_scan() {
    explore(|| {
        let (stage, [dead, asker]) = Stage::with(settings(1, 4));
        for key in 1..=3 {
            dead.hold(key, 1);
        }
        dead.begin_exit();
        let dying = spawn(&dead, |dead| {
            dead.finish_exit();
            dead.stage.serve_deferred();
        });
        assert!(ask(&asker, 3, 1));
        dying.join().unwrap();
        stage.at_rest(&[(&asker, 3, 1)]);
        assert_eq!(stage.sums().released_by_exit, 3);
    });
}

/// A dead holder of each place is reaped by its monitor and by a caller with a new key.
#[test]
fn a_search_for_a_place_against_the_monitor() {
    explore(|| {
        let (stage, [dead, asker, other]) = Stage::with(settings(1, 2));
        dead.hold(1, 1);
        other.hold(2, 1);
        dead.begin_exit();
        let dying = spawn(&dead, |dead| dead.finish_exit());
        assert!(ask(&asker, 3, 1));
        dying.join().unwrap();
        stage.at_rest(&[(&other, 2, 1), (&asker, 3, 1)]);
    });
}

/// A restart takes over from a dead holder while the monitor of that holder reaps it.
#[test]
fn takeover_against_the_monitor() {
    explore(|| {
        let (stage, [dead, supervisor]) = Stage::with(no_overdraft(1, 2));
        dead.hold(1, 1);
        dead.begin_exit();
        let dying = spawn(&dead, |dead| dead.finish_exit());
        assert!(matches!(supervisor.restart_step(1, 1, 0), KeyRestart::Admitted(_)));
        dying.join().unwrap();
        stage.at_rest(&[(&supervisor, 1, 1)]);
        assert_eq!(stage.sums().released_by_exit, 1);
    });
}

/// The same while a process waits: the restart or the waiter has the permit.
#[test]
fn takeover_against_the_monitor_and_a_waiter() {
    explore(|| {
        let (stage, [dead, supervisor, waiter]) = Stage::with(no_overdraft(1, 2));
        dead.hold(1, 1);
        waiter.wait(1, 1);
        dead.begin_exit();
        let dying = spawn(&dead, |dead| dead.finish_exit());
        let restarted = matches!(supervisor.restart(1, 1), KeyRestart::Admitted(_));
        dying.join().unwrap();
        assert_eq!(waiter.was_granted(), !restarted);
        stage.at_rest(&one(&[(restarted, &supervisor, 1), (!restarted, &waiter, 1)]));
    });
}

/// Two restarts find one dead holder. One takes its permit over, and the overdraft of 1 admits
/// the other.
#[test]
fn two_restarts_of_one_key() {
    explore(|| {
        let settings = KeyedSettings { max_overdraft: 1, ..settings(1, 2) };
        let (stage, [dead, first, second]) = Stage::with(settings);
        dead.hold(1, 1);
        dead.begin_exit();
        let restarting = spawn(&first, |first| first.restart(1, 1));
        assert!(matches!(second.restart(1, 1), KeyRestart::Admitted(_)));
        assert!(matches!(restarting.join().unwrap(), KeyRestart::Admitted(_)));
        dead.finish_exit();
        stage.at_rest(&[(&first, 1, 1), (&second, 1, 1)]);
    });
}

/// A takeover meets a close. The permit is the supervisor's, or comes back with the dead holder.
#[test]
fn takeover_against_a_drain() {
    explore(|| {
        let (stage, [dead, supervisor, drainer]) = Stage::with(no_overdraft(1, 2));
        dead.hold(1, 1);
        dead.begin_exit();
        let restarting = spawn(&supervisor, |supervisor| {
            let drains = supervisor.stage.sums().status == penstock_core::Status::Draining;
            let restarted = matches!(supervisor.restart(1, 1), KeyRestart::Admitted(_));
            assert!(!drains || !restarted, "a pool that drains admits no restart");
            restarted
        });
        assert!(matches!(drainer.drain(), KeyedDrain::Waiting(_)));
        let restarted = restarting.join().unwrap();
        dead.finish_exit();
        assert_eq!(drainer.answers().is_empty(), restarted);
        stage.at_rest(&one(&[(restarted, &supervisor, 1)]));
    });
}

/// A process drains while the last permit of each of two shards comes back.
#[test]
fn drain_against_the_last_releases_in_two_shards() {
    explore(|| {
        let (stage, [first, second, drainer]) = Stage::with(two_shards(1));
        let [a, b] = keys_of_two_shards();
        first.hold(a, 1);
        second.hold(b, 1);
        let releasing = spawn(&first, move |first| first.release(a, 1));
        let also_releasing = spawn(&second, move |second| second.release(b, 1));
        let drain = drainer.drain();
        assert_eq!(releasing.join().unwrap(), Ok(()));
        assert_eq!(also_releasing.join().unwrap(), Ok(()));
        let expected: &[Answer] = if drain == KeyedDrain::Done { &[] } else { &[Answer::Drained] };
        assert_eq!(drainer.answers(), expected);
        stage.nothing_is_left();
    });
}

/// A caller acquires the first permit while a process drains. The drainer waits for it, or it is
/// refused.
#[test]
fn acquire_against_a_drain() {
    explore(|| {
        let (stage, [caller, drainer]) = Stage::with(settings(1, 2));
        let asking = spawn(&caller, |caller| ask(&caller, 1, 1));
        let drain = drainer.drain();
        let acquired = asking.join().unwrap();
        assert_eq!(drain == KeyedDrain::Done, !acquired);
        if acquired {
            assert_eq!(caller.release(1, 1), Ok(()));
            assert_eq!(drainer.answers(), [Answer::Drained]);
        }
        stage.nothing_is_left();
    });
}

/// A process drains while the last permit comes back and another reopens the pool. The drainer
/// gets one answer.
#[test]
fn drain_against_reopening_and_the_last_release() {
    explore(|| {
        let (stage, [holder, drainer, other]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        let releasing = spawn(&holder, |holder| holder.release(1, 1));
        let reopening = spawn(&other, |other| other.stage.reopen());
        let drain = drainer.drain();
        assert_eq!(releasing.join().unwrap(), Ok(()));
        assert!(reopening.join().unwrap());
        let answers = drainer.answers();
        match drain {
            KeyedDrain::Done => assert!(answers.is_empty()),
            KeyedDrain::Waiting(_) => assert!(answers.len() == 1, "{answers:?}"),
        }
        stage.nothing_is_left();
    });
}

/// A waiter parks while the pool drains: it is refused, or answered.
#[test]
fn parking_against_a_drain() {
    explore(|| {
        let (stage, [holder, waiter, drainer]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        let parking = spawn(&waiter, |waiter| waiter.park(1, 1));
        assert!(matches!(drainer.drain(), KeyedDrain::Waiting(_)));
        match parking.join().unwrap() {
            KeyParked::Refused(KeyRefusal::Closed) => assert!(waiter.answers().is_empty()),
            KeyParked::Waiting(_) => assert_eq!(waiter.answers(), [Answer::Closed]),
            other => panic!("{other:?}"),
        }
        stage.at_rest(&[(&holder, 1, 1)]);
    });
}

/// A caller of an opening asks while the pool is closed and opened again. It has permits of the
/// first opening, or none.
#[test]
fn a_stale_acquire_against_the_next_opening() {
    explore(|| {
        let (stage, [caller]) = Stage::with(settings(1, 2));
        let generation = stage.generation();
        let asking = spawn(&caller, move |caller| {
            let show = Name(1);
            let key = PoolKey { generation, tag: tag(1), show: &show };
            let Stage { pool, host, .. } = &*caller.stage;
            pool.try_acquire(host, caller.pid, key, 1, Kind::Manual).is_ok()
        });
        stage.close();
        let reopened = Reusable::fits(&stage.pool, stage.settings);
        if reopened {
            stage.open_again(stage.settings);
        }
        let acquired = asking.join().unwrap();
        assert!(!acquired || !reopened, "the permit of a stale caller is in no later opening");
        let sums = stage.sums();
        assert_eq!((sums.in_use, sums.acquired), (u64::from(acquired), u64::from(acquired)));
        assert!(!reopened || sums.rejected == 0, "a stale refusal counts in no later opening");
    });
}

/// The limit grows while a waiter parks.
#[test]
fn a_larger_limit_against_parking() {
    explore(|| {
        let (stage, [holder, waiter]) = Stage::with(settings(1, 2));
        holder.hold(1, 1);
        let parking = spawn(&waiter, |waiter| waiter.park(1, 1));
        assert!(stage.update(2));
        let parked = parking.join().unwrap();
        assert!(has(&waiter, parked));
        stage.at_rest(&[(&holder, 1, 1), (&waiter, 1, 1)]);
    });
}

/// The limit falls below a request that parks behind another waiter: it is refused, or answered.
#[test]
fn a_smaller_limit_against_parking() {
    explore(|| {
        let (stage, [holder, first, waiter]) = Stage::with(settings(2, 2));
        holder.hold(1, 2);
        first.wait(1, 1);
        let parking = spawn(&waiter, |waiter| waiter.park(1, 2));
        assert!(stage.update(1));
        match parking.join().unwrap() {
            KeyParked::Refused(KeyRefusal::KeyFull) => assert!(waiter.answers().is_empty()),
            KeyParked::Waiting(_) => assert_eq!(waiter.answers(), [Answer::Full]),
            other => panic!("{other:?}"),
        }
        assert!(first.answers().is_empty());
        stage.at_rest(&[(&holder, 1, 2)]);
    });
}

/// A process leaves the only place of the wait queues and parks again, while another is refused
/// in the other shard. That refusal must not refuse the first process.
#[test]
fn the_only_place_for_a_waiter_against_a_refused_one() {
    explore(|| {
        let (stage, [holder, first, second]) = Stage::with(KeyedSettings { max_waiting: 1, ..two_shards(1) });
        let [a, b] = keys_of_two_shards();
        holder.hold(a, 1);
        holder.hold(b, 1);
        let wait = first.wait(a, 1);
        let parking = spawn(&second, move |second| second.park(b, 1));
        assert_eq!(first.cancel(wait), Cancelled::Yes);
        let parked = first.park(a, 1);
        let also = parking.join().unwrap();
        let waits = |parked| matches!(parked, KeyParked::Waiting(_));
        assert!(waits(parked) != waits(also), "{parked:?} and {also:?}");
        assert_eq!(stage.sums().waiting, 1);
    });
}

/// The same of the last place for a key.
#[test]
fn the_only_place_for_a_key_against_a_refused_one() {
    explore(|| {
        let (stage, [holder, other]) = Stage::with(two_shards(1));
        let upper = |key: &u64| tag(*key).0 >> 63 == 1;
        let (one, two): (Vec<u64>, Vec<u64>) = (0..40).partition(upper);
        for &key in one[..4].iter().chain(&two[..4]) {
            holder.hold(key, 1);
        }
        let (last, new) = (one[0], two[4]);
        let asking = spawn(&other, move |other| other.take(new, 1).is_ok());
        assert_eq!(holder.release(last, 1), Ok(()));
        let acquired = holder.take(last, 1).is_ok();
        let asked = asking.join().unwrap();
        assert!(acquired != asked, "one of them has the last place");
        assert_eq!(stage.sums().keys, 8);
    });
}

/// A shard has as many leases as their ids can name. No call loses a permit or a place for that.
#[test]
fn a_shard_that_can_have_no_further_lease() {
    explore(|| {
        let stage: Arc<Stage> = Stage::open(12, settings(20, 4));
        let all = stage.processes(1..=12);
        let id = all[0].hold_bound(1, 2);
        for holder in &all[1..8] {
            holder.hold(1, 1);
        }
        assert_eq!(all[8].try_acquire(1, 1), Err(KeyRefusal::TableFull));
        assert_eq!(all[8].try_acquire(2, 1), Err(KeyRefusal::TableFull), "for a new key, too");
        assert_eq!(all[8].restart(2, 1), KeyRestart::Refused(KeyRefusal::TableFull));
        assert_eq!(stage.sums().keys, 1, "the new key got no place");
        assert!(all[0].entrust(id, &all[8], 1).is_err());
        let offer = all[0].offer(id, 1).expect("one permit is left");
        assert_eq!(all[9].adopt(offer), Adoption::Revoked);
        // Both permits are free again, since no process could get them.
        let held: Vec<_> = all[1..8].iter().map(|holder| (holder, 1, 1)).collect();
        stage.at_rest(&held);
        all[9].hold(1, 1);
    });
}

/// A scan passes a living process while others come and go.
#[test]
fn a_refusal_against_the_death_of_the_only_holder() {
    explore(|| {
        let (stage, [dead, asker, waiter]) = Stage::with(settings(1, 2));
        dead.hold(1, 1);
        let parked = spawn(&waiter, |waiter| waiter.park(1, 1));
        dead.begin_exit();
        let acquired = meanwhile(&asker, |asker| ask(&asker, 1, 1));
        dead.finish_exit();
        let parked = parked.join().unwrap();
        let waits = has(&waiter, parked);
        assert!(acquired != waits, "one of them has the permit of the dead holder");
        stage.at_rest(&one(&[(acquired, &asker, 1), (waits, &waiter, 1)]));
    });
}
