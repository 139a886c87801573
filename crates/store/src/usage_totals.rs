//! Adding up calls: the same for every backend.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

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

/// What an amount is over, as far as it is told apart where it comes from.
pub(crate) struct Part<'a> {
    /// `None` only where days are neither told apart nor chosen between.
    pub(crate) day: Option<u64>,
    /// `None` only where keys are neither told apart nor chosen between; the same goes for projects.
    pub(crate) key: Option<KeyId>,
    pub(crate) project: Option<&'a str>,
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    pub(crate) endpoint: &'a str,
}

/// Sums of the totals that fit, told apart as asked for.
#[derive(Debug)]
pub(crate) struct Sums<'a> {
    pub(crate) group: UsageGroup,
    pub(crate) filter: &'a UsageFilter,
    sums: BTreeMap<Place, Total>,
}

/// Day, key, project, provider, model and endpoint, as far as they are told apart.
type Place = (Option<u64>, Option<KeyId>, Option<String>, Option<String>, Option<String>, Option<String>);

impl<'a> Sums<'a> {
    pub(crate) fn new(group: UsageGroup, filter: &'a UsageFilter) -> Self {
        Self { group, filter, sums: BTreeMap::new() }
    }

    /// Whether projects are told apart or chosen between.
    pub(crate) fn asks_for_projects(&self) -> bool {
        self.group.project || self.filter.project.is_some()
    }

    /// Adds what calls of one key come to; `project` is that of the key, where they are asked for.
    pub(crate) fn add(&mut self, place: &TotalKey<&str>, project: Option<&str>, amounts: &Total) {
        let TotalKey { day, key, provider, model, endpoint } = *place;
        let part = Part { day: Some(day), key: Some(key), project, provider, model, endpoint };
        if fits(&part, self.filter) {
            add(self.sum_of(&part), amounts);
        }
    }

    /// Adds what is read only if it fits.
    pub(crate) fn add_part<E>(
        &mut self,
        part: &Part<'_>,
        amounts: impl FnOnce() -> Result<Total, E>,
    ) -> Result<(), E> {
        if fits(part, self.filter) {
            add(self.sum_of(part), &amounts()?);
        }
        Ok(())
    }

    fn sum_of(&mut self, part: &Part<'_>) -> &mut Total {
        let group = self.group;
        let place = (
            part.day.filter(|_| group.day),
            part.key.filter(|_| group.key),
            part.project.filter(|_| group.project).map(str::to_owned),
            group.provider.then(|| part.provider.to_owned()),
            group.model.then(|| part.model.to_owned()),
            group.endpoint.then(|| part.endpoint.to_owned()),
        );
        self.sums.entry(place).or_insert([0; AMOUNTS])
    }

    /// Newest day first, dearest first within it.
    pub(crate) fn finish(self) -> Vec<UsageSum> {
        let sum = |((day, key, project, provider, model, endpoint), total): (Place, Total)| {
            let total = total.map(|amount| u64::try_from(amount).unwrap_or(u64::MAX));
            let [calls, counts @ .., activations, tokens, spend_nanos] = total;
            UsageSum {
                is_rest: false,
                day,
                key,
                project,
                provider,
                model,
                endpoint,
                calls,
                tokens: TokenCounts::from_array(counts),
                charged: Units { activations, tokens, spend_nanos },
            }
        };
        let mut sums: Vec<UsageSum> = self.sums.into_iter().map(sum).collect();
        dearest_first(&mut sums);
        sums
    }
}

/// Newest day first, dearest first within it; what is left over comes last.
fn dearest_first(sums: &mut [UsageSum]) {
    let dear =
        |sum: &UsageSum| (sum.day, !sum.is_rest, sum.charged.spend_nanos, sum.charged.tokens, sum.calls);
    sums.sort_by_key(|sum| Reverse(dear(sum)));
}

/// The dearest so many of what is told apart besides days, over all days, and the others as one per day.
///
/// `sum` adds up what it is asked for. Where keys are told apart by day it is asked for all keys without days, and with days
/// for the dearest ones only: days times keys are too many rows to look at for a few of them.
pub(crate) fn top<E>(
    most: usize,
    group: UsageGroup,
    filter: &UsageFilter,
    mut sum: impl FnMut(UsageGroup, &UsageFilter) -> Result<Vec<UsageSum>, E>,
) -> Result<Vec<UsageSum>, E> {
    let mut dearest = sum(UsageGroup { day: false, ..group }, filter)?;
    let is_all = dearest.len() <= most;
    let rest = dearest.split_off(most.min(dearest.len()));
    if !group.day {
        let rest = rest.into_iter().reduce(|mut all, sum| {
            change_amounts(&mut all, &sum, u64::saturating_add);
            all
        });
        dearest.extend(rest.map(|rest| UsageSum { day: None, ..as_rest(rest) }));
        return Ok(dearest);
    }
    let keys = group.key.then(|| Arc::new(dearest.iter().filter_map(|sum| sum.key).collect()));
    let kept: HashSet<_> = dearest.iter().map(apart).collect();
    let mut sums = sum(group, &UsageFilter { keys: keys.or_else(|| filter.keys.clone()), ..filter.clone() })?;
    sums.retain(|sum| kept.contains(&apart(sum)));
    if !is_all {
        let mut days = sum(UsageGroup { day: true, ..UsageGroup::default() }, filter)?;
        for day in &mut days {
            let number = day.day;
            for sum in sums.iter().filter(|sum| sum.day == number) {
                change_amounts(day, sum, u64::saturating_sub);
            }
        }
        sums.extend(days.into_iter().filter(|day| day.calls > 0).map(as_rest));
        dearest_first(&mut sums);
    }
    Ok(sums)
}

/// What a sum is over, but for the day.
fn apart(sum: &UsageSum) -> (Option<KeyId>, [Option<&str>; 4]) {
    let UsageSum { key, project, provider, model, endpoint, .. } = sum;
    (*key, [project, provider, model, endpoint].map(|name| name.as_deref()))
}

fn as_rest(sum: UsageSum) -> UsageSum {
    let UsageSum { day, calls, tokens, charged, .. } = sum;
    UsageSum { is_rest: true, day, calls, tokens, charged, ..UsageSum::default() }
}

fn change_amounts(sum: &mut UsageSum, by: &UsageSum, change: fn(u64, u64) -> u64) {
    sum.calls = change(sum.calls, by.calls);
    let (mut counts, charged) = (sum.tokens.to_array(), &mut sum.charged);
    for (count, by) in counts.iter_mut().zip(by.tokens.to_array()) {
        *count = change(*count, by);
    }
    sum.tokens = TokenCounts::from_array(counts);
    charged.activations = change(charged.activations, by.charged.activations);
    charged.tokens = change(charged.tokens, by.charged.tokens);
    charged.spend_nanos = change(charged.spend_nanos, by.charged.spend_nanos);
}

fn fits(part: &Part<'_>, filter: &UsageFilter) -> bool {
    filter.key.is_none_or(|wanted| part.key == Some(wanted))
        && filter.keys.as_ref().is_none_or(|keys| part.key.is_some_and(|key| keys.contains(&key)))
        && filter.project.as_deref().is_none_or(|wanted| part.project == Some(wanted))
        && filter.provider.as_ref().is_none_or(|wanted| wanted == part.provider)
        && filter.model.as_ref().is_none_or(|wanted| wanted == part.model)
        && filter.since.is_none_or(|since| part.day.is_none_or(|day| day >= since.day()))
        && filter.until.is_none_or(|until| part.day.is_none_or(|day| day < until.first_day_from()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use till_core::key::KeyId;

    use super::{AMOUNTS, Sums, Total, TotalKey, top};
    use crate::usage_record::{UsageFilter, UsageGroup, UsageSum};

    /// Day, key, spend; each is one call.
    const CALLS: [(u64, u8, u128); 6] = [(2, 1, 5), (2, 2, 4), (2, 3, 3), (1, 3, 9), (1, 1, 1), (1, 4, 2)];

    fn sum(group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>, Infallible> {
        let mut sums = Sums::new(group, filter);
        for (day, key, spend) in CALLS {
            let mut amounts: Total = [0; AMOUNTS];
            (amounts[0], amounts[AMOUNTS - 1]) = (1, spend);
            let place = TotalKey { day, key: KeyId([key; 16]), provider: "p", model: "m", endpoint: "e" };
            sums.add(&place, Some(if key < 3 { "a" } else { "b" }), &amounts);
        }
        Ok(sums.finish())
    }

    /// Day, key, project, whether it is the rest, spend, calls.
    type Shown = (Option<u64>, Option<u8>, Option<String>, bool, u64, u64);

    fn shown(most: usize, group: UsageGroup) -> Vec<Shown> {
        let Ok(sums) = top(most, group, &UsageFilter::default(), sum);
        let shown = sums.into_iter().map(|sum| {
            let key = sum.key.map(|key| key.0[0]);
            (sum.day, key, sum.project, sum.is_rest, sum.charged.spend_nanos, sum.calls)
        });
        shown.collect()
    }

    #[test]
    fn the_dearest_over_all_days_stay_and_the_others_are_one_per_day() {
        let by_key = UsageGroup { day: true, key: true, ..UsageGroup::default() };
        let expected = [
            (Some(2), Some(3), None, false, 3, 1),
            (Some(2), None, None, true, 9, 2),
            (Some(1), Some(3), None, false, 9, 1),
            (Some(1), None, None, true, 3, 2),
        ];
        assert_eq!(shown(1, by_key), expected);
        let all = shown(4, by_key);
        assert_eq!(all.len(), CALLS.len(), "all of them fit");
        assert!(all.iter().all(|sum| !sum.3));
        assert_eq!(shown(9, by_key), all);
        let without_days = UsageGroup { day: false, ..by_key };
        assert_eq!(
            shown(1, without_days),
            [(None, Some(3), None, false, 12, 2), (None, None, None, true, 12, 4)]
        );
        assert_eq!(shown(4, without_days).len(), 4);
    }

    #[test]
    fn what_is_left_over_on_no_day_has_no_sum() {
        let by_project = UsageGroup { day: true, project: true, ..UsageGroup::default() };
        let b = |day, spend, calls| (Some(day), None, Some("b".to_owned()), false, spend, calls);
        let rest = |day, spend, calls| (Some(day), None, None, true, spend, calls);
        assert_eq!(shown(1, by_project), [b(2, 3, 1), rest(2, 9, 2), b(1, 11, 2), rest(1, 1, 1)]);
        let by_both = UsageGroup { key: true, ..by_project };
        let three = shown(3, by_both);
        assert!(
            three.iter().filter(|sum| sum.3).all(|sum| *sum == rest(1, 2, 1)),
            "key 4, that day only: {three:?}"
        );
        assert!(three.iter().any(|sum| sum.3) && three.iter().all(|sum| sum.3 == sum.2.is_none()));
    }
}
