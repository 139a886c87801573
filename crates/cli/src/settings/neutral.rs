//! Rows that the configuration file adds to the tables of endpoints: `[[neutral]]` with `provider` and one of
//! `endpoint`, `field`, `tool`, `beta`.
//!
//! Only the shape is read here; what makes a good row is the registry's to say.

use till_providers::neutral::{Neutral, NeutralThing};
use toml::de::{DeTable, DeValue};

use super::file::{Contents, Reader};
use super::{Mistake, Source};

/// A row as it was written.
#[derive(Clone, Debug)]
pub(super) struct WrittenNeutral {
    pub(super) row: Neutral,
    pub(super) source: Source,
}

const RULE: &str = "must have `provider` and exactly one of `endpoint`, `field`, `tool` and `beta`, each a string, and nothing else";

/// Reads the array of tables `neutral`.
pub(super) fn read_all(reader: &Reader<'_>, contents: &mut Contents, source: &Source, rows: &DeValue<'_>) {
    let DeValue::Array(rows) = rows else {
        contents.mistakes.push(Mistake::new("neutral", source, "is no list of tables; write `[[neutral]]`"));
        return;
    };
    for row in rows {
        let source = reader.source(row.span().start);
        match row.get_ref() {
            DeValue::Table(table) => match read_one(table) {
                Some(row) => contents.neutral.push(WrittenNeutral { row, source }),
                None => contents.mistakes.push(Mistake::new("neutral", &source, RULE)),
            },
            _ => contents.mistakes.push(Mistake::new("neutral", &source, RULE)),
        }
    }
}

fn read_one(table: &DeTable<'_>) -> Option<Neutral> {
    let mut provider = None;
    let mut what = None;
    for (key, value) in table {
        let DeValue::String(text) = value.get_ref() else { return None };
        let text = text.clone().into_owned();
        let thing = match key.get_ref().as_ref() {
            "provider" => {
                provider = Some(text);
                continue;
            }
            "endpoint" => NeutralThing::Endpoint(text),
            "field" => NeutralThing::Field(text),
            "tool" => NeutralThing::Tool(text),
            "beta" => NeutralThing::Beta(text),
            _ => return None,
        };
        if what.replace(thing).is_some() {
            return None;
        }
    }
    Some(Neutral { provider: provider?, what: what? })
}
