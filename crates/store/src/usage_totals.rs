//! Adding up calls: the same for every backend.

use std::collections::BTreeMap;

use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::time::Timestamp;

use crate::usage_record::{Outcome, TokenCounts, UsageFilter, UsageGroup, UsageSum};

/// How many amounts a total has: calls, tokens by kind, charges in three dimensions.
pub(crate) const AMOUNTS: usize = 1 + TokenCounts::KINDS + 3;

/// What totals are kept per.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TotalKey<S> {
    pub(crate) day: u64,
    pub(crate) key: KeyId,
    pub(crate) provider: S,
    pub(crate) model: S,
    pub(crate) endpoint: S,
}

/// The amounts of one total, of any size.
pub(crate) type Total = [u128; AMOUNTS];

impl<'a> TotalKey<&'a str> {
    /// The total that a call of this provider, model and endpoint belongs to; `None` for a refused one, which is in the
    /// counts of denials.
    ///
    /// Sums are kept for ever, so a name counts only if the provider knows it or the key paid for it: otherwise
    /// somebody could fill the disk with names that he makes up.
    pub(crate) fn of(
        at: Timestamp,
        key: KeyId,
        [provider, model, endpoint]: [&'a str; 3],
        status: Option<u16>,
        outcome: Outcome,
        charged: Units,
    ) -> Option<Self> {
        let is_paid = charged.tokens > 0 || charged.spend_nanos > 0;
        let is_known = is_paid || status.is_some_and(|status| (200..300).contains(&status));
        let model = if is_known { model } else { "" };
        (outcome != Outcome::Denied).then_some(Self { day: at.day(), key, provider, model, endpoint })
    }
}

/// One call as amounts.
pub(crate) fn amounts(tokens: TokenCounts, charged: Units) -> [u64; AMOUNTS] {
    let mut amounts = [1; AMOUNTS];
    amounts[1..=TokenCounts::KINDS].copy_from_slice(&tokens.to_array());
    let charged = [charged.activations, charged.tokens, charged.spend_nanos];
    amounts[1 + TokenCounts::KINDS..].copy_from_slice(&charged);
    amounts
}

/// Adds amounts; stays at 2¹²⁸−1.
pub(crate) fn add<A: Copy + Into<u128>>(total: &mut Total, more: &[A; AMOUNTS]) {
    for (amount, more) in total.iter_mut().zip(more) {
        *amount = amount.saturating_add((*more).into());
    }
}

/// Sums of the totals that fit, told apart as asked for.
#[derive(Debug)]
pub(crate) struct Sums<'a> {
    group: UsageGroup,
    filter: &'a UsageFilter,
    sums: BTreeMap<Place, Total>,
}

/// Day, key, provider, model and endpoint, as far as they are told apart.
type Place = (Option<u64>, Option<KeyId>, Option<String>, Option<String>, Option<String>);

impl<'a> Sums<'a> {
    pub(crate) fn new(group: UsageGroup, filter: &'a UsageFilter) -> Self {
        Self { group, filter, sums: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, key: &TotalKey<&str>, total: &Total) {
        if !fits(key, self.filter) {
            return;
        }
        let group = self.group;
        let place = (
            group.day.then_some(key.day),
            group.key.then_some(key.key),
            group.provider.then(|| key.provider.to_owned()),
            group.model.then(|| key.model.to_owned()),
            group.endpoint.then(|| key.endpoint.to_owned()),
        );
        add(self.sums.entry(place).or_insert([0; AMOUNTS]), total);
    }

    /// Newest day first, dearest first within it.
    pub(crate) fn finish(self) -> Vec<UsageSum> {
        let sum = |((day, key, provider, model, endpoint), total): (Place, Total)| {
            let total = total.map(|amount| u64::try_from(amount).unwrap_or(u64::MAX));
            let [calls, counts @ .., activations, tokens, spend_nanos] = total;
            UsageSum {
                day,
                key,
                provider,
                model,
                endpoint,
                calls,
                tokens: TokenCounts::from_array(counts),
                charged: Units { activations, tokens, spend_nanos },
            }
        };
        let mut sums: Vec<UsageSum> = self.sums.into_iter().map(sum).collect();
        sums.sort_by(|one, other| {
            let dear = |sum: &UsageSum| (sum.day, sum.charged.spend_nanos, sum.charged.tokens, sum.calls);
            dear(other).cmp(&dear(one))
        });
        sums
    }
}

/// Sums over all of them at once.
#[cfg(test)]
pub(crate) fn sums<'a>(
    totals: impl IntoIterator<Item = (TotalKey<&'a str>, Total)>,
    group: UsageGroup,
    filter: &UsageFilter,
) -> Vec<UsageSum> {
    let mut sums = Sums::new(group, filter);
    totals.into_iter().for_each(|(key, total)| sums.add(&key, &total));
    sums.finish()
}

fn fits(key: &TotalKey<&str>, filter: &UsageFilter) -> bool {
    filter.key.is_none_or(|wanted| wanted == key.key)
        && filter.keys.as_ref().is_none_or(|keys| keys.contains(&key.key))
        && filter.provider.as_ref().is_none_or(|wanted| wanted == key.provider)
        && filter.model.as_ref().is_none_or(|wanted| wanted == key.model)
        && filter.since.is_none_or(|since| key.day >= since.day())
        && filter.until.is_none_or(|until| key.day < until.first_day_from())
}
