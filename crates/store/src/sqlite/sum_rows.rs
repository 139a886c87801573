//! Rows of sums over calls: per day and key, and what follows from those.
//!
//! Three tables say the same in every transaction: `usage_sums` per day and key, `project_sums` per day and project, and
//! `span_sums` per key and some days in a row. Whoever asks reads the one with the fewest rows that can tell. Nothing is
//! written to one of them but by this module, which writes to all three.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, Rows, ToSql, params};
use till_core::id_map::IdMap;
use till_core::key::KeyId;

use super::column::Amount;
use crate::usage_totals::{AMOUNTS, Part, Sums, Total, TotalKey, add};

/// Days of a row of `span_sums`. More make fewer rows of a long time, and more days at its ends that are in no whole span.
pub(super) const SPAN_DAYS: u64 = 8;

/// Sums in memory at once.
const TOTALS_MAX: usize = 16_384;

/// Columns of a sum in the order of [`Total`].
macro_rules! amount_columns {
    () => {
        "calls, input, cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, image_output, \
         tool_calls, charged_activations, charged_tokens, charged_spend"
    };
}

/// What finds, changes and makes a row of a table: its name, its column of time, its column of whose calls.
macro_rules! table {
    ($name:literal, $time:literal, $owner:literal) => {
        SumTable {
            select: concat!(
                "SELECT ",
                amount_columns!(),
                " FROM ",
                $name,
                " WHERE ",
                $time,
                " = ?1 AND ",
                $owner,
                " = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5"
            ),
            update: concat!(
                "UPDATE ",
                $name,
                " SET calls = ?6, input = ?7, cache_read = ?8, cache_write = ?9, output = ?10, reasoning = ?11, \
                 audio_input = ?12, audio_output = ?13, image_input = ?14, image_output = ?15, tool_calls = ?16, \
                 charged_activations = ?17, charged_tokens = ?18, charged_spend = ?19 WHERE ",
                $time,
                " = ?1 AND ",
                $owner,
                " = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5"
            ),
            insert: concat!(
                "INSERT INTO ",
                $name,
                " (",
                $time,
                ", ",
                $owner,
                ", provider, model, endpoint, ",
                amount_columns!(),
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
            ),
        }
    };
}

struct SumTable {
    select: &'static str,
    update: &'static str,
    insert: &'static str,
}

const OF_DAYS: SumTable = table!("usage_sums", "day", "key");
const OF_PROJECTS: SumTable = table!("project_sums", "day", "project");
const OF_SPANS: SumTable = table!("span_sums", "span", "key");

impl SumTable {
    /// Reads sums, changes them, writes them. SQLite's own addition would go over to floating point.
    fn change<'a, O: ToSql>(
        &self,
        connection: &Connection,
        change: Change,
        rows: impl IntoIterator<Item = ((u64, O, [&'a str; 3]), Total)>,
    ) -> Result<()> {
        let mut select = connection.prepare_cached(self.select)?;
        let mut update = connection.prepare_cached(self.update)?;
        let mut insert = connection.prepare_cached(self.insert)?;
        for ((time, owner, [provider, model, endpoint]), amounts) in rows {
            let place = params![time, owner, provider, model, endpoint];
            let found = select.query_row(place, |row| total(row, 0)).optional()?;
            let write = if found.is_some() { &mut update } else { &mut insert };
            let mut sum = found.unwrap_or([0; AMOUNTS]);
            change(&mut sum, &amounts);
            for (index, value) in (1..).zip(place) {
                write.raw_bind_parameter(index, value)?;
            }
            for (index, amount) in (6..).zip(sum) {
                write.raw_bind_parameter(index, Amount(amount))?;
            }
            write.raw_execute()?;
        }
        Ok(())
    }
}

/// What is done to a sum with the amounts of others.
pub(super) type Change = fn(&mut Total, &Total);

/// Changes sums of days and keys, and what follows from them.
pub(super) fn change<'a>(
    connection: &Connection,
    change: Change,
    rows: impl IntoIterator<Item = (TotalKey<&'a str>, Total)>,
) -> Result<()> {
    let mut derived = Derived::default();
    let mut projects = Projects::default();
    let rows: Vec<_> = rows.into_iter().collect();
    for (place, amounts) in &rows {
        derived.add(place, amounts, projects.of(connection, place.key)?);
    }
    let of_days = rows.iter().map(|(place, amounts)| ((place.day, place.key.0, names(place)), *amounts));
    OF_DAYS.change(connection, change, of_days)?;
    derived.write(connection, change)
}

fn names<'a>(place: &TotalKey<&'a str>) -> [&'a str; 3] {
    [place.provider, place.model, place.endpoint]
}

/// What follows from sums of days and keys.
#[derive(Default)]
struct Derived<'a> {
    of_projects: HashMap<(u64, Arc<str>, [&'a str; 3]), Total>,
    of_spans: HashMap<(u64, KeyId, [&'a str; 3]), Total>,
}

impl<'a> Derived<'a> {
    fn add(&mut self, place: &TotalKey<&'a str>, amounts: &Total, project: Arc<str>) {
        let names = names(place);
        add(self.of_projects.entry((place.day, project, names)).or_insert([0; AMOUNTS]), amounts);
        let span = (place.day / SPAN_DAYS, place.key, names);
        add(self.of_spans.entry(span).or_insert([0; AMOUNTS]), amounts);
    }

    fn write(self, connection: &Connection, change: Change) -> Result<()> {
        let of_projects = self.of_projects.iter();
        let of_projects =
            of_projects.map(|((day, project, names), amounts)| ((*day, &**project, *names), *amounts));
        OF_PROJECTS.change(connection, change, of_projects)?;
        let of_spans = self.of_spans.iter();
        let of_spans = of_spans.map(|((span, key, names), amounts)| ((*span, key.0, *names), *amounts));
        OF_SPANS.change(connection, change, of_spans)
    }
}

/// Makes what follows from the sums of days and keys, of a version that had nothing else.
pub(super) fn derive(connection: &Connection) -> Result<()> {
    let mut projects = Projects::default();
    let mut rows: Vec<(TotalKey<String>, Total)> = Vec::new();
    let mut statement = connection.prepare(concat!(
        "SELECT day, key, provider, model, endpoint, ",
        amount_columns!(),
        " FROM usage_sums ORDER BY day, key"
    ))?;
    let mut found = statement.query([])?;
    loop {
        if let Some(row) = found.next()? {
            let (provider, model, endpoint) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let place = TotalKey { day: row.get(0)?, key: KeyId(row.get(1)?), provider, model, endpoint };
            rows.push((place, total(row, 5)?));
            if rows.len() < TOTALS_MAX {
                continue;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut derived = Derived::default();
        for (TotalKey { day, key, provider, model, endpoint }, amounts) in &rows {
            let place = TotalKey { day: *day, key: *key, provider: &**provider, model, endpoint };
            derived.add(&place, amounts, projects.of(connection, *key)?);
        }
        derived.write(connection, add)?;
        rows.clear();
    }
}

/// Projects of keys, each looked for once.
#[derive(Default)]
pub(super) struct Projects(IdMap<KeyId, Arc<str>>);

impl Projects {
    /// That of a key, if the sums ask for projects.
    pub(super) fn asked(
        &mut self,
        connection: &Connection,
        sums: &Sums<'_>,
        key: KeyId,
    ) -> Result<Option<Arc<str>>> {
        sums.asks_for_projects().then(|| self.of(connection, key)).transpose()
    }

    /// The project of a key; empty if there is no such key.
    fn of(&mut self, connection: &Connection, key: KeyId) -> Result<Arc<str>> {
        if let Some(known) = self.0.get(&key) {
            return Ok(Arc::clone(known));
        }
        let sql = "SELECT project FROM keys WHERE id = ?1";
        let found = connection.prepare_cached(sql)?.query_row([key.0], |row| row.get(0)).optional()?;
        let project: Arc<str> = found.unwrap_or_else(|| Arc::from(""));
        self.0.insert(key, Arc::clone(&project));
        Ok(project)
    }
}

/// Days from the first to before the second, of all keys together.
const PROJECTS_OF_DAYS: &str = concat!(
    "SELECT day, project, provider, model, endpoint, ",
    amount_columns!(),
    " FROM project_sums WHERE day >= ?1 AND day < ?2"
);

const KEYS_OF_DAYS: &str = concat!(
    "SELECT day, key, provider, model, endpoint, ",
    amount_columns!(),
    " FROM usage_sums WHERE day >= ?1 AND day < ?2"
);

const DAYS_OF_KEY: &str = concat!(
    "SELECT day, key, provider, model, endpoint, ",
    amount_columns!(),
    " FROM usage_sums INDEXED BY usage_sums_by_key WHERE day >= ?1 AND day < ?2 AND key = ?3"
);

const KEYS_OF_SPANS: &str = concat!(
    "SELECT NULL, key, provider, model, endpoint, ",
    amount_columns!(),
    " FROM span_sums WHERE span >= ?1 AND span < ?2"
);

/// Adds up the rows of some days that `sums` asks for: those of the table that has the fewest and tells enough.
pub(super) fn add_up(
    connection: &Connection,
    sums: &mut Sums<'_>,
    projects: &mut Projects,
    (since, until): (u64, u64),
) -> Result<()> {
    let mut add = Adding { connection, sums, projects };
    let (group, filter) = (add.sums.group, add.sums.filter);
    if let Some(key) = filter.key {
        let is_wanted = filter.keys.as_ref().is_none_or(|keys| keys.contains(&key));
        return if is_wanted { add.days_of(key, since, until) } else { Ok(()) };
    }
    if let Some(keys) = &filter.keys {
        return keys.iter().try_for_each(|key| add.days_of(*key, since, until));
    }
    if !group.key {
        return add.rows_of_projects(since, until);
    }
    if group.day {
        return add.rows_of_keys(KEYS_OF_DAYS, since, until);
    }
    // After the newest day there is nothing: a span that has it is whole.
    let newest = "SELECT max(day) FROM usage_sums";
    let newest: Option<u64> = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    let Some(newest) = newest else { return Ok(()) };
    let first = since.div_ceil(SPAN_DAYS);
    let end = if until > newest { newest / SPAN_DAYS + 1 } else { until / SPAN_DAYS };
    if first >= end {
        return add.rows_of_keys(KEYS_OF_DAYS, since, until);
    }
    add.rows_of_keys(KEYS_OF_DAYS, since, first * SPAN_DAYS)?;
    add.rows_of_keys(KEYS_OF_SPANS, first, end)?;
    add.rows_of_keys(KEYS_OF_DAYS, end * SPAN_DAYS, until)
}

struct Adding<'a, 'f> {
    connection: &'a Connection,
    sums: &'a mut Sums<'f>,
    projects: &'a mut Projects,
}

impl Adding<'_, '_> {
    fn days_of(&mut self, key: KeyId, since: u64, until: u64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(DAYS_OF_KEY)?;
        let rows = statement.query(params![since, until, key.0])?;
        self.keys(rows)
    }

    fn rows_of_keys(&mut self, sql: &str, first: u64, end: u64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query(params![first, end])?;
        self.keys(rows)
    }

    fn keys(&mut self, mut rows: Rows<'_>) -> Result<()> {
        while let Some(row) = rows.next()? {
            let key = KeyId(row.get(1)?);
            let project = self.projects.asked(self.connection, self.sums, key)?;
            let part = Part { key: Some(key), project: project.as_deref(), ..part(row)? };
            self.sums.add_part(&part, || total(row, 5))?;
        }
        Ok(())
    }

    fn rows_of_projects(&mut self, since: u64, until: u64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(PROJECTS_OF_DAYS)?;
        let mut rows = statement.query(params![since, until])?;
        while let Some(row) = rows.next()? {
            let part = Part { project: Some(row.get_ref(1)?.as_str()?), ..part(row)? };
            self.sums.add_part(&part, || total(row, 5))?;
        }
        Ok(())
    }
}

/// A row, but for whose calls it sums up.
fn part<'a>(row: &'a Row<'_>) -> Result<Part<'a>> {
    Ok(Part {
        day: row.get(0)?,
        key: None,
        project: None,
        provider: row.get_ref(2)?.as_str()?,
        model: row.get_ref(3)?.as_str()?,
        endpoint: row.get_ref(4)?.as_str()?,
    })
}

fn total(row: &Row<'_>, first: usize) -> Result<Total> {
    let mut total = [0; AMOUNTS];
    for (index, amount) in (first..).zip(&mut total) {
        *amount = row.get::<_, Amount>(index)?.0;
    }
    Ok(total)
}
