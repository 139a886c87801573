//! Who may try a password, and how often.
//!
//! An attempt passes several doors, each with its own count. Invariants:
//! - an attempt is counted as failed before the password is looked at, so that many at once are no more than as many in turn;
//! - nothing is remembered beyond its window, and one that is refused is not counted, so that no door stays shut;
//! - memory is bounded, and nobody is refused because it is full: each kind of door has a table of its own, and a full one
//!   forgets those that were tried least. To make it forget a door that was tried often one has to try thousands as often;
//! - addresses count as what a provider gives to one customer: an IPv6 address by its first 64 bits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use till_core::time::Timestamp;

use crate::error::ApiError;

/// How long a failed attempt counts.
const WINDOW_MS: u64 = 15 * 60 * 1000;

/// So many doors of a kind are remembered, and so many are forgotten at once when there are more.
const TABLE_MAX: usize = 10_000;
const FORGOTTEN_AT_ONCE: usize = TABLE_MAX / 10;

/// What an attempt passes. Logins are hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Door {
    /// A login, from one network.
    LoginFrom([u8; 32], Option<IpAddr>),
    /// A login, from everywhere. Far more than anybody mistypes, so that strangers hardly shut somebody out, and far less
    /// than guessing needs.
    Login([u8; 32]),
    /// Any login, from one network.
    Network(Option<IpAddr>),
    /// The password of somebody who is signed in. Strangers don't come here.
    SignedIn([u8; 32]),
}

impl Door {
    /// So many attempts may fail within [`WINDOW_MS`].
    fn most(self) -> u32 {
        match self {
            Self::LoginFrom(..) | Self::SignedIn(_) => 5,
            Self::Network(_) => 20,
            Self::Login(_) => 100,
        }
    }

    fn table(self) -> usize {
        match self {
            Self::LoginFrom(..) => 0,
            Self::Login(_) => 1,
            Self::Network(_) => 2,
            Self::SignedIn(_) => 3,
        }
    }

    /// Whether who got through has shown that what failed before was their own typing. Of the others only the one attempt is
    /// taken back: whoever can sign in must not make room for guesses at others, or of others.
    fn is_cleared_by_success(self) -> bool {
        matches!(self, Self::LoginFrom(..) | Self::SignedIn(_))
    }
}

/// The doors of one attempt.
#[derive(Debug)]
pub(crate) struct Way(Vec<Door>);

impl Way {
    /// Signing in by a login, from somewhere.
    pub(crate) fn signing_in(login_hash: [u8; 32], ip: Option<IpAddr>) -> Self {
        let network = ip.map(network);
        Self(vec![Door::LoginFrom(login_hash, network), Door::Login(login_hash), Door::Network(network)])
    }

    /// Showing one's password while one is signed in.
    pub(crate) fn signed_in(login_hash: [u8; 32]) -> Self {
        Self(vec![Door::SignedIn(login_hash)])
    }
}

/// The part of an address that says whose it is.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: Timestamp,
}

impl Failures {
    /// Milliseconds until it no longer counts.
    fn left(self, now: Timestamp) -> u64 {
        WINDOW_MS.saturating_sub(now.0.saturating_sub(self.since.0))
    }
}

type Table = HashMap<Door, Failures>;

/// What failed lately.
#[derive(Default)]
pub(crate) struct Doors(Mutex<[Table; 4]>);

impl Doors {
    /// Counts an attempt as failed, before it is looked at.
    ///
    /// # Errors
    /// There were too many; it says until when.
    pub(crate) fn try_one(&self, way: &Way, now: Timestamp) -> Result<(), ApiError> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shut_for = |door: &Door| {
            let one = tables[door.table()].get(door).filter(|one| one.count >= door.most())?;
            Some(one.left(now)).filter(|left| *left > 0)
        };
        if let Some(left) = way.0.iter().filter_map(shut_for).max() {
            return Err(ApiError::too_many_attempts(left.div_ceil(1000)));
        }
        for door in &way.0 {
            let table = &mut tables[door.table()];
            if table.len() >= TABLE_MAX && !table.contains_key(door) {
                forget_some(table, now);
            }
            let one = table.entry(*door).or_insert(Failures { count: 0, since: now });
            if one.left(now) == 0 {
                *one = Failures { count: 0, since: now };
            }
            one.count += 1;
        }
        Ok(())
    }

    /// It did not fail.
    pub(crate) fn succeeded(&self, way: &Way) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for door in &way.0 {
            let table = &mut tables[door.table()];
            if door.is_cleared_by_success() {
                table.remove(door);
            } else if let Some(one) = table.get_mut(door) {
                one.count = one.count.saturating_sub(1);
            }
        }
    }

    /// Attempts that are remembered of all doors.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> u32 {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().flat_map(HashMap::values).map(|one| one.count).sum()
    }
}

/// Makes room in a full table: what is over goes, and if that is nothing, what was tried least, and of that the oldest.
fn forget_some(table: &mut Table, now: Timestamp) {
    table.retain(|_, one| one.left(now) > 0);
    if table.len() < TABLE_MAX {
        return;
    }
    let rank = |one: &Failures| (one.count, one.since);
    let mut ranks: Vec<_> = table.values().map(rank).collect();
    let (_, last, _) = ranks.select_nth_unstable(FORGOTTEN_AT_ONCE);
    let last = *last;
    table.retain(|_, one| rank(one) > last);
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use till_core::time::Timestamp;

    use super::{Doors, TABLE_MAX, WINDOW_MS, Way};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn hash(n: u32) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        hash
    }

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    fn way(login: u32, address: IpAddr) -> Way {
        Way::signing_in(hash(login), Some(address))
    }

    /// Fails so often, and says how many of these were let through.
    fn let_through(doors: &Doors, way: &Way, times: u32) -> u32 {
        (0..times).map(|_| u32::from(doors.try_one(way, NOW).is_ok())).sum()
    }

    #[test]
    fn guesses_are_few_per_login_and_per_network() {
        let doors = Doors::default();
        assert_eq!(let_through(&doors, &way(1, address(1)), 9), 5);
        doors.try_one(&way(1, address(1)), Timestamp(NOW.0 + WINDOW_MS - 1)).unwrap_err();
        doors.try_one(&way(1, address(1)), Timestamp(NOW.0 + WINDOW_MS)).unwrap();
        // Many logins from one network.
        let doors = Doors::default();
        let passed: u32 = (0..30).map(|n| let_through(&doors, &way(n, address(1)), 1)).sum();
        assert_eq!(passed, 20);
        assert_eq!(let_through(&doors, &way(99, address(2)), 1), 1);
        // One login from many networks.
        let doors = Doors::default();
        let passed: u32 = (0..30).map(|n| let_through(&doors, &way(1, address(n)), 5)).sum();
        assert_eq!(passed, 100);
        assert_eq!(let_through(&doors, &way(2, address(99)), 1), 1);
    }

    #[test]
    fn strangers_shut_nobody_out_at_home() {
        let doors = Doors::default();
        assert_eq!(let_through(&doors, &way(1, address(1)), 9), 5);
        let home = way(1, address(2));
        doors.try_one(&home, NOW).unwrap();
        doors.succeeded(&home);
        // Nor from the change of a password, wherever they come from.
        for n in 10..40 {
            let_through(&doors, &way(1, address(n)), 9);
        }
        doors.try_one(&home, NOW).unwrap_err();
        assert_eq!(let_through(&doors, &Way::signed_in(hash(1)), 9), 5);
    }

    #[test]
    fn success_makes_room_for_whoever_had_it() {
        let doors = Doors::default();
        let ada = way(1, address(1));
        assert_eq!(let_through(&doors, &ada, 4), 4);
        doors.succeeded(&ada);
        assert_eq!(let_through(&doors, &ada, 9), 5);
        // For one more at the address, not for as many as one likes.
        let doors = Doors::default();
        for n in 0..19 {
            doors.try_one(&way(n, address(1)), NOW).unwrap();
        }
        doors.try_one(&way(50, address(1)), NOW).unwrap();
        doors.succeeded(&way(50, address(1)));
        assert_eq!((60..70).map(|n| let_through(&doors, &way(n, address(1)), 1)).sum::<u32>(), 1);
    }

    #[test]
    fn an_ipv6_customer_is_one_network() {
        let doors = Doors::default();
        let of = |network: u16, host: u16| {
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, host, host))
        };
        let passed: u32 = (0..30).map(|n| let_through(&doors, &way(n.into(), of(1, n)), 1)).sum();
        assert_eq!(passed, 20);
        assert_eq!(let_through(&doors, &way(99, of(2, 1)), 1), 1);
    }

    #[test]
    fn it_is_said_how_long_to_wait() {
        let doors = Doors::default();
        let ada = way(1, address(1));
        let_through(&doors, &ada, 5);
        for (later, seconds) in [(0, 900), (1, 900), (1_000, 899), (899_001, 1), (899_999, 1)] {
            let refused = doors.try_one(&ada, Timestamp(NOW.0 + later)).unwrap_err();
            assert_eq!(refused.retry_after_seconds(), Some(seconds), "after {later} ms");
        }
        // Until the last of the doors that are shut is open.
        for n in 0..20 {
            let _ = doors.try_one(&way(100 + n, address(1)), Timestamp(NOW.0 + 60_000));
        }
        let refused = doors.try_one(&way(2, address(1)), Timestamp(NOW.0 + 60_000)).unwrap_err();
        assert_eq!(
            refused.retry_after_seconds(),
            Some(840),
            "the network's window began with its first failure"
        );
    }

    #[test]
    fn a_flood_shuts_no_door_and_opens_none() {
        let doors = Doors::default();
        let most = u32::try_from(TABLE_MAX).unwrap();
        let ada = way(1, address(1));
        assert_eq!(let_through(&doors, &ada, 9), 5);
        // New names from new networks, three times what is remembered, and at every point one more may try.
        for n in 0..3 * most {
            doors
                .try_one(&way(1_000 + n, address(1_000 + n)), Timestamp(NOW.0 + u64::from(n / 100)))
                .unwrap();
        }
        for table in &*doors.0.lock().unwrap() {
            assert!(table.len() <= TABLE_MAX, "{}", table.len());
        }
        // What was tried often is remembered all the same, until its time is over.
        doors.try_one(&ada, NOW).unwrap_err();
        doors.try_one(&ada, Timestamp(NOW.0 + WINDOW_MS)).unwrap();
    }
}
