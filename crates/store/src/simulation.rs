//! Deterministic simulation: random schedules of everything that happens to a store, and a naive model beside it.
//!
//! A schedule is a list of steps made from a seed: calls that arrive, end, are hung up on or were never sent; limits,
//! ceilings and revocations; a clock that is set; writes that fail, with or without reaching the disk, a full disk, a crash
//! between two writes or in the middle of one, a stop. The store runs without its thread and under a clock of the
//! simulation, so a schedule in memory does the same every time. After each step [`world::World`] compares the store with
//! [`model::Model`], which knows no holds on disk, no escrow and no journal: only what was promised.
//!
//! A failure prints the seed and the shortest schedule that still fails. [`plant`] has bugs that are switched on to see
//! that each of them is found.
//!
//! `TILL_SIMULATE=1000000 TILL_SEED=7 cargo test --release -p till-store --lib simulation::long` runs as many schedules, on
//! all processors; see docs/reliability.md.

mod days;
mod model;
pub(crate) mod plant;
mod schedule;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plant::Plant;
use schedule::{Schedule, Step};
use world::{Medium, World};

/// Schedules of the quick run, in memory and on SQLite.
const QUICK: u64 = 20_000;
const QUICK_SQLITE: u64 = 200;

/// Runs that making a failing schedule shorter may take.
const SHRINKS_MAX: u32 = 3_000;

/// Runs one schedule; what it did, or what was wrong.
fn run(schedule: &Schedule, medium: Medium) -> Result<world::Tally, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(schedule, medium).run(&schedule.steps)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// Leaves out as many steps as possible, and says what is wrong with the rest.
fn shrink(schedule: &Schedule, medium: Medium) -> (Schedule, String) {
    let mut best = schedule.clone();
    let mut wrong = run(&best, medium).err().unwrap_or_else(|| "it does not fail again".into());
    let mut left = SHRINKS_MAX;
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 && left > 0 {
        let mut from = 0;
        while from < best.steps.len() && left > 0 {
            let mut shorter = best.clone();
            shorter.steps.drain(from..(from + size).min(best.steps.len()));
            left -= 1;
            match run(&shorter, medium) {
                Err(again) => (best, wrong) = (shorter, again),
                Ok(_) => from += size,
            }
        }
        size /= 2;
    }
    (best, wrong)
}

/// Runs schedules until one fails; then its seed.
fn find(seeds: std::ops::Range<u64>, medium: Medium) -> Result<world::Tally, u64> {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let plant = plant::planted();
    let over = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let tally = std::thread::scope(|scope| {
        let work = || {
            plant::plant(plant);
            let mut tally = world::Tally::default();
            while !over.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    break;
                }
                match run(&Schedule::of(seed), medium) {
                    Ok(more) => tally.add(&more),
                    Err(_) => {
                        failed.fetch_min(seed, Ordering::Relaxed);
                        over.store(true, Ordering::Relaxed);
                    }
                }
            }
            tally
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut sum = world::Tally::default();
        for worker in workers {
            sum.add(&worker.join().unwrap());
        }
        sum
    });
    match failed.into_inner() {
        u64::MAX => Ok(tally),
        seed => Err(seed),
    }
}

/// Runs schedules and panics with the shortest one that fails.
fn check(seeds: std::ops::Range<u64>, medium: Medium) -> world::Tally {
    find(seeds, medium).unwrap_or_else(|seed| panic!("{}", told(seed, medium)))
}

/// What is wrong with the schedule of a seed.
fn told(seed: u64, medium: Medium) -> String {
    let (shortest, wrong) = shrink(&Schedule::of(seed), medium);
    let steps: Vec<String> = shortest.steps.iter().map(|step: &Step| format!("  {step:?}")).collect();
    format!(
        "seed {seed} ({medium:?}): {wrong}\nkeys {:?}\nceiling {:?}\nsteps:\n{}",
        shortest.limits,
        shortest.ceiling,
        steps.join("\n")
    )
}

#[test]
fn no_promise_is_broken_in_any_schedule() {
    let tally = check(0..QUICK, Medium::Memory);
    println!("{QUICK} schedules: {tally:?}");
    // It did what it is for.
    assert!(
        tally.drawn > QUICK && tally.crashes > QUICK / 2 && tally.refused_writes > QUICK / 2,
        "{tally:?}"
    );
    assert!(tally.revocations > QUICK / 10 && tally.exhausted > QUICK / 2, "{tally:?}");
}

#[test]
fn no_promise_is_broken_on_disk() {
    let tally = check(0..QUICK_SQLITE, Medium::Sqlite);
    println!("{QUICK_SQLITE} schedules: {tally:?}");
    assert!(tally.crashes > QUICK_SQLITE / 2 && tally.torn > 0, "{tally:?}");
    assert!(tally.refused_writes > QUICK_SQLITE / 4, "the disk is hardly ever full: {tally:?}");
}

/// Long runs found bugs with these.
#[test]
fn what_failed_once_does_not_fail_again() {
    for seed in [3_038_512, 3_093_273, 4_043_234, 4_100_808] {
        check(seed..seed + 1, Medium::Memory);
    }
}

/// The long run: see the head of this file. Without the variable it has nothing to do.
#[test]
fn long() {
    let Some(schedules) = std::env::var("TILL_SIMULATE").ok().and_then(|n| n.parse::<u64>().ok()) else {
        return;
    };
    let first = std::env::var("TILL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    for (medium, schedules) in [(Medium::Memory, schedules), (Medium::Sqlite, schedules / 100)] {
        let begun = std::time::Instant::now();
        let tally = check(first..first + schedules, medium);
        println!("{schedules} schedules from seed {first} on {medium:?} in {:?}: {tally:?}", begun.elapsed());
    }
}

/// The same schedule does the same, or a seed would tell nothing.
#[test]
fn a_seed_tells_the_whole_story() {
    for seed in 0..50 {
        let schedule = Schedule::of(seed);
        assert_eq!(schedule.steps, Schedule::of(seed).steps);
        assert_eq!(run(&schedule, Medium::Memory), run(&schedule, Medium::Memory), "seed {seed}");
    }
}

/// A simulation that finds nothing must be able to find something.
#[test]
fn every_planted_bug_is_found() {
    for bug in Plant::ALL {
        plant::plant(Some(bug));
        let found = find(0..QUICK, Medium::Memory);
        let seed = found.expect_err(&format!("{bug:?} is not found in {QUICK} schedules"));
        let story = told(seed, Medium::Memory);
        plant::plant(None);
        println!("{bug:?}: schedule {}\n{story}\n", seed + 1);
        assert!(!story.contains("does not fail again"), "{story}");
    }
}
