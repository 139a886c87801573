//! Sums over calls by what the store does not tell apart: projects, and the dearest of many.

use std::collections::HashMap;

use till_core::key::KeyId;
use till_core::limit::Units;
use till_store::{TokenCounts, UsageSum};

/// A sum with what it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupSum {
    /// The project, where projects are told apart.
    pub(crate) project: Option<String>,
    /// Whether it is over all that is not among the dearest.
    pub(crate) is_rest: bool,
    /// The rest of it.
    pub(crate) sum: UsageSum,
}

impl From<UsageSum> for GroupSum {
    fn from(sum: UsageSum) -> Self {
        Self { project: None, is_rest: false, sum }
    }
}

/// What is told apart besides days.
type Group = (Option<String>, Option<KeyId>, Option<String>, Option<String>, Option<String>);

fn group(sum: &GroupSum) -> Group {
    let UsageSum { key, provider, model, endpoint, .. } = &sum.sum;
    (sum.project.clone(), *key, provider.clone(), model.clone(), endpoint.clone())
}

/// Sums that tell keys apart, by their projects; keys stay apart if they are asked for too.
pub(crate) fn by_project(
    sums: Vec<UsageSum>,
    projects: &HashMap<KeyId, String>,
    keeps_keys: bool,
) -> Vec<GroupSum> {
    let of_project = sums.into_iter().map(|mut sum| {
        let project = sum.key.and_then(|key| projects.get(&key)).cloned();
        sum.key = sum.key.filter(|_| keeps_keys);
        GroupSum { project: Some(project.unwrap_or_default()), is_rest: false, sum }
    });
    merged(of_project)
}

/// The dearest so many of what is told apart, over all days, and the others as one per day.
pub(crate) fn top(sums: Vec<GroupSum>, most: usize) -> Vec<GroupSum> {
    let mut totals: HashMap<Group, Total> = HashMap::new();
    for sum in &sums {
        let total = totals.entry(group(sum)).or_default();
        let Units { spend_nanos, tokens, .. } = sum.sum.charged;
        for (total, more) in total.iter_mut().zip([spend_nanos, tokens, sum.sum.calls]) {
            *total += u128::from(more);
        }
    }
    if totals.len() <= most {
        return sums;
    }
    let mut dearest: Vec<(Total, Group)> = totals.into_iter().map(|(group, total)| (total, group)).collect();
    dearest.sort_unstable_by(|one, other| other.cmp(one));
    dearest.truncate(most);
    let kept: std::collections::HashSet<Group> = dearest.into_iter().map(|(_, group)| group).collect();
    merged(sums.into_iter().map(|sum| {
        if kept.contains(&group(&sum)) {
            return sum;
        }
        let UsageSum { day, calls, tokens, charged, .. } = sum.sum;
        let rest = UsageSum { day, calls, tokens, charged, ..UsageSum::default() };
        GroupSum { project: None, is_rest: true, sum: rest }
    }))
}

/// Spend, tokens, calls: what is dear.
type Total = [u128; 3];

/// Adds up what is over the same, in the order of the API: newest day first, dearest first within it.
fn merged(sums: impl Iterator<Item = GroupSum>) -> Vec<GroupSum> {
    let mut places: HashMap<(Option<u64>, bool, Group), usize> = HashMap::new();
    let mut merged: Vec<GroupSum> = Vec::new();
    for sum in sums {
        let place = *places.entry((sum.sum.day, sum.is_rest, group(&sum))).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(found) => add(&mut found.sum, &sum.sum),
            None => merged.push(sum),
        }
    }
    merged.sort_by(|one, other| {
        let dear = |one: &GroupSum| {
            (one.sum.day, !one.is_rest, one.sum.charged.spend_nanos, one.sum.charged.tokens, one.sum.calls)
        };
        dear(other).cmp(&dear(one))
    });
    merged
}

fn add(total: &mut UsageSum, more: &UsageSum) {
    total.calls = total.calls.saturating_add(more.calls);
    let mut counts = total.tokens.to_array();
    for (count, more) in counts.iter_mut().zip(more.tokens.to_array()) {
        *count = count.saturating_add(more);
    }
    total.tokens = TokenCounts::from_array(counts);
    let (charged, more) = (&mut total.charged, more.charged);
    charged.activations = charged.activations.saturating_add(more.activations);
    charged.tokens = charged.tokens.saturating_add(more.tokens);
    charged.spend_nanos = charged.spend_nanos.saturating_add(more.spend_nanos);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use till_core::key::KeyId;
    use till_core::limit::Units;
    use till_store::UsageSum;

    use super::{GroupSum, by_project, top};

    fn sum(day: u64, key: u8, spend_nanos: u64) -> UsageSum {
        let charged = Units { activations: 1, tokens: 0, spend_nanos };
        UsageSum { day: Some(day), key: Some(KeyId([key; 16])), calls: 1, charged, ..UsageSum::default() }
    }

    /// Day, key, project, whether it is the rest, spend, calls.
    type Shown<'a> = (u64, Option<u8>, Option<&'a str>, bool, u64, u64);

    fn shown(sums: &[GroupSum]) -> Vec<Shown<'_>> {
        let one = |sum: &GroupSum| {
            let key = sum.sum.key.map(|key| key.0[0]);
            (key, sum.is_rest, sum.sum.charged.spend_nanos, sum.sum.calls)
        };
        let all = sums.iter().map(|sum| {
            let (key, rest, spend, calls) = one(sum);
            (sum.sum.day.unwrap_or_default(), key, sum.project.as_deref(), rest, spend, calls)
        });
        all.collect()
    }

    #[test]
    fn the_dearest_over_all_days_stay_and_the_others_are_one_per_day() {
        let sums = vec![sum(2, 1, 5), sum(2, 2, 4), sum(2, 3, 3), sum(1, 3, 9), sum(1, 1, 1), sum(1, 4, 2)];
        let sums: Vec<GroupSum> = sums.into_iter().map(GroupSum::from).collect();
        let expected = [
            (2, Some(3), None, false, 3, 1),
            (2, None, None, true, 9, 2),
            (1, Some(3), None, false, 9, 1),
            (1, None, None, true, 3, 2),
        ];
        assert_eq!(shown(&top(sums.clone(), 1)), expected);
        assert_eq!(top(sums.clone(), 4), sums, "all of them fit");
    }

    #[test]
    fn keys_are_added_up_by_their_project() {
        let projects = HashMap::from([(KeyId([1; 16]), "a".to_owned()), (KeyId([2; 16]), "a".to_owned())]);
        let sums = vec![sum(2, 1, 5), sum(2, 2, 4), sum(2, 3, 1), sum(1, 2, 7)];
        let expected = [
            (2, None, Some("a"), false, 9, 2),
            (2, None, Some(""), false, 1, 1),
            (1, None, Some("a"), false, 7, 1),
        ];
        assert_eq!(shown(&by_project(sums.clone(), &projects, false)), expected);
        assert_eq!(by_project(sums, &projects, true).len(), 4);
    }
}
