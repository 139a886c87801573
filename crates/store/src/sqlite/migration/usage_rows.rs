//! Records of calls as versions 2 and 3 kept them, a row each, on their way into blocks.

use rusqlite::{Connection, Result, Row, params};
use till_core::key::KeyId;
use till_core::limit::Units;

use super::super::block::denial_of;
use super::super::column::{Amount, Time};
use super::super::read::damaged;
use super::super::records::write_blocks;
use crate::usage_record::{Outcome, TokenCounts, UsageRecord};

/// Records in memory at once.
const PIECE: usize = 4_096;

/// Moves every row into a block and drops the table.
pub(super) fn move_to_blocks(connection: &Connection) -> Result<()> {
    let mut last = 0;
    loop {
        let sql = "SELECT seq, at, key, request_id, provider, method, endpoint, model, status, outcome, denial, input, \
                     cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, image_output, \
                     tool_calls, charged_activations, charged_tokens, charged_spend, price_version, latency_ms, \
                     first_byte_ms, client, streamed \
                   FROM usage_records WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = connection.prepare(sql)?;
        let records = statement.query_map(params![last, PIECE], record_from)?;
        let records: Vec<(u64, UsageRecord)> = records.collect::<Result<_>>()?;
        let (Some((first, _)), Some((end, _))) = (records.first(), records.last()) else {
            break;
        };
        last = *end;
        write_blocks(connection, *first, records.iter().map(|(seq, record)| (*seq, record)))?;
    }
    connection.execute_batch("DROP TABLE usage_records")
}

fn record_from(row: &Row<'_>) -> Result<(u64, UsageRecord)> {
    let amount = |index: usize| row.get::<_, Amount>(index)?.u64();
    let mut counts = [0; TokenCounts::KINDS];
    for (index, count) in (11..).zip(&mut counts) {
        *count = amount(index)?;
    }
    let outcome = Outcome::parse(row.get_ref(9)?.as_str()?);
    let denial = match row.get::<_, Option<String>>(10)? {
        None => None,
        Some(word) => Some(denial_of(&word).ok_or_else(|| damaged(10, "an unknown denial"))?),
    };
    let client = row.get::<_, Option<String>>(27)?;
    let record = UsageRecord {
        at: row.get::<_, Time>(1)?.0,
        key: KeyId(row.get(2)?),
        request_id: row.get(3)?,
        provider: row.get(4)?,
        method: row.get::<_, String>(5)?.into(),
        endpoint: row.get::<_, String>(6)?.into(),
        model: row.get(7)?,
        status: row.get(8)?,
        outcome: outcome.ok_or_else(|| damaged(9, "an unknown outcome"))?,
        denial,
        tokens: TokenCounts::from_array(counts),
        charged: Units { activations: amount(21)?, tokens: amount(22)?, spend_nanos: amount(23)? },
        price_version: row.get(24)?,
        latency_ms: row.get(25)?,
        first_byte_ms: row.get(26)?,
        client: client.and_then(|client| client.parse().ok()),
        streamed: row.get(28)?,
    };
    Ok((row.get(0)?, record))
}
