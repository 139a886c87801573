//! A schedule: what happens, in which order, made from a seed.

use till_core::limit::{Limits, Units};

use crate::conformance::faults::Random;

/// Keys of a schedule.
pub(super) const KEYS: usize = 4;

/// Where the clock is set to, in seconds from the beginning, which is a noon: backwards, beyond the end of all keys that
/// have one, shortly before midnight, and to the next day.
const CLOCKS: [i64; 5] = [-3_600, 0, 130, 43_170, 90_000];

/// One thing that happens. Whatever number a step has is taken modulo what there is, so that any list of steps means
/// something, also one that others were left out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A call arrives.
    Ask {
        key: usize,
        units: Units,
    },
    /// Calls arrive one after the other, each ends at once.
    Burst {
        key: usize,
        calls: u64,
        units: Units,
    },
    /// Somebody who waits for an answer goes away.
    Leave {
        nth: usize,
    },
    /// A call that is in flight ends.
    End {
        nth: usize,
        how: End,
    },
    /// The writer takes what is asked for.
    Write,
    /// A limit is changed.
    Limit {
        key: usize,
        activations: Option<u64>,
    },
    /// The ceiling of all keys is set, changed or taken away.
    Ceiling {
        activations: Option<u64>,
    },
    Revoke {
        key: usize,
    },
    Pause {
        key: usize,
        on: bool,
    },
    /// The kill switch.
    Stop {
        on: bool,
    },
    /// The next writes fail; on SQLite the disk is full.
    Fail {
        how: usize,
        times: usize,
    },
    Heal,
    Pass {
        millis: u64,
    },
    /// Somebody sets the clock: so long after the beginning, or before it.
    SetClock {
        seconds: i64,
    },
    Crash,
    /// A crash in the middle of a write, of which a part is on disk.
    CrashInWrite {
        part: u64,
    },
    Restart,
    /// Everything comes to rest and is compared.
    Compare,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was read to its end, by the client or after the client left: so many 16ths of what was held were used.
    Read { used: u64 },
    /// The client hung up, and nobody can say what was used.
    HangUp,
    /// Provably nothing was sent.
    Unsent,
    /// The provider did not keep to its bound.
    Exceeds { by: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) limits: [Limits; KEYS],
    pub(super) ceiling: Option<u64>,
    /// The ceiling of all keys per day.
    pub(super) daily: Option<u64>,
    /// When the time of keys is over, in milliseconds after the beginning.
    pub(super) expires: [Option<u64>; KEYS],
    /// Accounts in memory.
    pub(super) loaded_max: usize,
    pub(super) steps: Vec<Step>,
}

impl Schedule {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x14);
        let r = &mut random;
        let small = 1 + r.below(30);
        let limits = [
            Limits { activations: Some(small), ..Limits::default() },
            Limits { activations: Some(1_000_000), ..Limits::default() },
            Limits { activations: Some(5 + r.below(40)), tokens: Some(50 + r.below(500)), spend_nanos: None },
            Limits {
                activations: None,
                tokens: Some(20_000 + r.below(500_000)),
                spend_nanos: Some(50_000 + r.below(900_000)),
            },
        ];
        let [ceiling, daily] = [2, 3].map(|of| (r.below(of) == 0).then(|| ceiling(r)));
        let expires = std::array::from_fn(|_| (r.below(4) == 0).then(|| 1_000 + r.below(120_000)));
        let loaded_max = if r.below(4) == 0 { 4 } else { 1_000 };
        // Every fourth is without faults, and then nothing is lost.
        let is_faulty = r.below(4) > 0;
        let length = 10 + r.below(45);
        let mut steps = Vec::new();
        for _ in 0..length {
            let step = step(r, is_faulty);
            steps.push(step);
            let is_asked = matches!(step, Step::Ask { .. } | Step::End { .. } | Step::Leave { .. });
            if is_asked && r.below(2) == 0 || r.below(6) == 0 {
                steps.push(Step::Write);
            }
        }
        Self { limits, ceiling, daily, expires, loaded_max, steps }
    }
}

fn ceiling(r: &mut Random) -> u64 {
    if r.below(2) == 0 { 1 + r.below(40) } else { 1_000 + r.below(50_000) }
}

/// What a call may come to.
fn units(r: &mut Random) -> Units {
    let (tokens, spend_nanos) = match r.below(3) {
        0 => (0, 0),
        1 => (1 + r.below(60), 1 + r.below(100)),
        _ => (r.below(20), 0),
    };
    Units { activations: 1, tokens, spend_nanos }
}

fn step(r: &mut Random, is_faulty: bool) -> Step {
    let index = |r: &mut Random, bound| usize::try_from(r.below(bound)).expect("small");
    let key = index(r, KEYS as u64);
    let nth = index(r, 1000);
    match r.below(100) {
        0..30 => Step::Ask { key, units: units(r) },
        30..38 => Step::Burst { key, calls: 2 + r.below(24), units: units(r) },
        38..40 => Step::Leave { nth },
        40..62 => Step::End { nth, how: end(r) },
        62..66 => Step::Limit { key, activations: (r.below(8) > 0).then(|| ceiling(r)) },
        66..69 => Step::Ceiling { activations: (r.below(4) > 0).then(|| ceiling(r)) },
        69..71 => Step::Revoke { key },
        71..73 => Step::Pause { key, on: r.below(3) == 0 },
        73 => Step::Stop { on: r.below(3) == 0 },
        74..78 => Step::Pass { millis: [1, 10, 60, 300, 1_100, 60_000][index(r, 6)] },
        78..80 => Step::SetClock { seconds: CLOCKS[index(r, 5)] },
        80 | 81 => Step::Restart,
        82..85 => Step::Compare,
        85..90 if is_faulty => Step::Fail { how: index(r, 3), times: 1 + index(r, 3) },
        90..93 if is_faulty => Step::Heal,
        93..95 if is_faulty => Step::Crash,
        95..98 if is_faulty => Step::CrashInWrite { part: r.below(1_000) },
        _ => Step::Write,
    }
}

fn end(r: &mut Random) -> End {
    match r.below(12) {
        0..6 => End::Read { used: r.below(17) },
        6..9 => End::HangUp,
        9..11 => End::Unsent,
        _ => End::Exceeds { by: 1 + r.below(200) },
    }
}
