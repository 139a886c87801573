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

/// A name with dates as `-20251211`, with these as `-2025-12-11`: some name models so. `None` if it has none.
pub(super) fn with_dashed_dates(name: &str) -> Option<String> {
    let mut dashed = String::new();
    let mut copied = 0;
    for (at, _) in name.match_indices("-20") {
        let date = at + 1;
        if let Some((year, month, day)) = compact_date(&name[date..]) {
            dashed.push_str(&name[copied..date]);
            dashed.push_str(&format!("{year}-{month}-{day}"));
            copied = date + 8;
        }
    }
    dashed.push_str(&name[copied..]);
    (copied > 0).then_some(dashed)
}

/// Year, month and day of a text that begins with a day of the calendar in eight digits, and ends there or goes on with
/// a dash or a colon.
fn compact_date(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 8 || !matches!(text.as_bytes().get(8), None | Some(b'-' | b':')) {
        return None;
    }
    let (year, month, day) = (text.get(..4)?, text.get(4..6)?, text.get(6..8)?);
    let days = match month.parse().ok()? {
        2 if year.parse::<u16>().ok()? % 4 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12_u8 => 31,
        _ => return None,
    };
    (1..=days).contains(&day.parse::<u8>().ok()?).then_some((year, month, day))
}
