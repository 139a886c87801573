//! Maps and sets by id, without the cost of a hash that withstands an enemy.
//!
//! The ids of keys and projects are random, or made from something random with a secret, and holds are numbered by till
//! itself: nobody can choose ids that fall together.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by id.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A set of ids.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Multiplies and folds: for ids that nobody can choose, and for nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

/// An odd number without a pattern: the digits of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl IdHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        // The upper half has something of every bit, the lower one of those below only.
        #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let folded = (product >> 64) as u64 ^ product as u64;
        self.0 = folded.rotate_left(23);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.add(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    fn write_usize(&mut self, number: usize) {
        // Lengths of arrays and numbers of variants.
        self.add(number as u64);
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.add(number.unsigned_abs() as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher as _, BuildHasherDefault};

    use super::IdHasher;
    use crate::key::KeyId;
    use crate::ledger::{AccountId, HoldId};

    #[test]
    fn ids_spread_over_the_buckets() {
        let hash = BuildHasherDefault::<IdHasher>::default();
        let keys = (0_u128..4_096).map(|n| hash.hash_one(KeyId(n.to_be_bytes())));
        let accounts = (0_u128..4_096).map(|n| hash.hash_one(AccountId::Key(KeyId(n.to_le_bytes()))));
        let holds = (0..4_096).map(|number| hash.hash_one(HoldId { incarnation: 3, number }));
        for hashes in [keys.collect::<Vec<u64>>(), accounts.collect(), holds.collect()] {
            // What a table looks at: the lowest bits, of which 2,590 would be distinct by chance, and the seven highest.
            for (bits, expected) in [(0..12, 1_900), (57..64, 128)] {
                let (shift, mask) = (bits.start, (1_u64 << bits.len()) - 1);
                let distinct: BTreeSet<u64> = hashes.iter().map(|hash| hash >> shift & mask).collect();
                assert!(distinct.len() >= expected, "{} distinct values", distinct.len());
            }
        }
    }
}
