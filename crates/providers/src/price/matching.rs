//! Which names of a model a row of the price table is for.

use regex_lite::Regex;
use serde::Deserialize;

/// A clause as it stands in the table: a sign and a text, or a list of which any or all must hold.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Written {
    One(String),
    Any { any: Vec<Written> },
    All { all: Vec<Written> },
}

/// A clause. All texts are in lower case.
#[derive(Clone, Debug)]
pub(super) enum Clause {
    /// `=`: the name itself.
    Is(String),
    /// `^`
    StartsWith(String),
    /// `$`
    EndsWith(String),
    /// `~`
    Contains(String),
    /// `/`
    Matches(Regex),
    /// `!`: has no such part, ended by a dash or the end.
    HasNoPart(String),
    /// One of them holds.
    Any(Vec<Clause>),
    /// Each of them holds.
    All(Vec<Clause>),
}

impl Clause {
    pub(super) fn read(written: Written) -> Self {
        match written {
            Written::Any { any } => Self::Any(any.into_iter().map(Self::read).collect()),
            Written::All { all } => Self::All(all.into_iter().map(Self::read).collect()),
            Written::One(text) => {
                let (sign, text) = text.split_at(1);
                let text = text.to_owned();
                match sign {
                    "=" => Self::Is(text),
                    "^" => Self::StartsWith(text),
                    "$" => Self::EndsWith(text),
                    "~" => Self::Contains(text),
                    "/" => Self::Matches(Regex::new(&text).expect("the built-in price table is sound")),
                    "!" => Self::HasNoPart(text),
                    _ => panic!("the built-in price table is sound"),
                }
            }
        }
    }

    /// Whether it holds for a name in lower case.
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::Is(text) => name == text,
            Self::StartsWith(text) => name.starts_with(text.as_str()),
            Self::EndsWith(text) => name.ends_with(text.as_str()),
            Self::Contains(text) => name.contains(text.as_str()),
            Self::Matches(regex) => regex.is_match(name),
            Self::HasNoPart(part) => {
                let mut found = name.match_indices(part.as_str());
                !found.any(|(at, _)| matches!(name[at + part.len()..].chars().next(), None | Some('-')))
            }
            Self::Any(parts) => parts.iter().any(|part| part.holds(name)),
            Self::All(parts) => parts.iter().all(|part| part.holds(name)),
        }
    }

    /// The names that it has in full and holds for.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Is(text) => vec![text],
            Self::Any(parts) => parts.iter().flat_map(Self::names).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it holds for no other names than those.
    pub(super) fn is_exact(&self) -> bool {
        match self {
            Self::Is(_) => true,
            Self::Any(parts) => parts.iter().all(Self::is_exact),
            _ => false,
        }
    }
}

/// A name that ends with a date as `-20251211`, with the date as `-2025-12-11`: some name models so. `None` if it has
/// none.
pub(super) fn with_dashed_date(name: &str) -> Option<String> {
    let at = name.match_indices("-20").map(|(at, _)| at).find(|at| {
        let rest = &name.as_bytes()[at + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let month = rest.get(4..6).and_then(|month| std::str::from_utf8(month).ok()?.parse().ok());
        let day = rest.get(6..8).and_then(|day| std::str::from_utf8(day).ok()?.parse().ok());
        digits == 8
            && matches!(month, Some(1..=12_u8))
            && matches!(day, Some(1..=31_u8))
            && matches!(rest.get(8), None | Some(b'-' | b':'))
    })?;
    let (start, date) = name.split_at(at + 1);
    Some(format!("{start}{}-{}-{}{}", &date[..4], &date[4..6], &date[6..8], &date[8..]))
}
