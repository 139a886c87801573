//! Names that somebody may have meant.

use std::collections::BTreeMap;

/// How many are shown.
const NAMES_MAX: usize = 5;

/// The names nearest to one that was not found, each with everything that comes with it; none if none is near.
pub(super) fn names<'a, T: Copy + Ord>(
    wanted: &str,
    known: impl Iterator<Item = (T, &'a str)>,
) -> Vec<(&'a str, Vec<T>)> {
    let wanted = wanted.to_ascii_lowercase();
    let far = (wanted.chars().count() / 4).max(2);
    let mut near: BTreeMap<(usize, &str), Vec<T>> = BTreeMap::new();
    for (with, name) in known {
        let lower = name.to_ascii_lowercase();
        let (short, long) = if lower.len() < wanted.len() { (&lower, &wanted) } else { (&wanted, &lower) };
        // A name with something before or after it is nearer than the number of its letters says.
        let distance = if short.len() > 3 && long.contains(short.as_str()) {
            (1 + (long.len() - short.len()) / 5).min(far)
        } else {
            distance(&wanted, &lower)
        };
        if distance <= far {
            near.entry((distance, name)).or_default().push(with);
        }
    }
    let mut near: Vec<_> = near.into_iter().collect();
    near.sort_by_key(|((distance, name), _)| (*distance, name.len()));
    near.truncate(NAMES_MAX);
    near.into_iter()
        .map(|((_, name), mut with)| {
            with.sort_unstable();
            with.dedup();
            (name, with)
        })
        .collect()
}

/// How many letters must be changed, put in or left out to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.chars().enumerate() {
        let mut next = vec![row + 1];
        for (column, with) in other.iter().enumerate() {
            let changed = last[column] + usize::from(letter != *with);
            next.push(changed.min(last[column + 1] + 1).min(next[column] + 1));
        }
        last = next;
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, names};

    #[test]
    fn near_names_are_found() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("gpt-4p", "gpt-4o", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
        let known = ["gpt-4o", "gpt-4o-mini", "claude-opus-5", "o3", "text-embedding-3-small"];
        for (wanted, expected) in [
            ("gpt-4p", vec!["gpt-4o"]),
            ("gpt-4p-mini", vec!["gpt-4o-mini"]),
            ("GPT-4O-MINI-X", vec!["gpt-4o-mini", "gpt-4o"]),
            ("opus-5", vec!["claude-opus-5"]),
            ("nothing-like-it", vec![]),
        ] {
            let found = names(wanted, known.iter().map(|name| ((), *name)));
            let found: Vec<&str> = found.into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, expected, "{wanted}");
        }
        let twice = names("o2", [(2, "o3"), (1, "o3"), (1, "o3")].into_iter());
        assert_eq!(twice, [("o3", vec![1, 2])]);
    }
}
