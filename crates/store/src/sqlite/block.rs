//! Records of calls as one block of bytes: 30 to 40 for each record.
//!
//! A block names the keys, the kinds of calls and the clients that occur in it once each; a record then is a few numbers:
//! its distance to the one before and what is not zero of its amounts. Any block can be read by itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, RandomState};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use till_core::denial::DenialCode;
use till_core::id_map::IdHasher;
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::time::Timestamp;

use super::bytes::{
    Bytes, Damaged, Put as _, Short, U64_MAX, put_bytes, put_len, put_optional, put_step, put_text, put_u64,
    seal,
};
use crate::usage_record::{Outcome, TokenCounts, UsageQuery, UsageRecord};
use crate::usage_totals::{self, TotalKey};

/// First byte of a block. Another layout gets another one.
const VERSION: u8 = 1;

/// Records in a block. One that is looked for costs reading its block, so blocks are small.
pub(super) const RECORDS_MAX: usize = 512;

/// A block that has so many bytes gets no further record.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// Tokens by kind, then what was charged. A record has a bit for each that is not zero, and one more if it has a time of
/// the first byte.
const AMOUNTS: usize = TokenCounts::KINDS + 3;

/// Bytes of an id that is written as pairs of hexadecimal digits.
const PACKED_MAX: usize = 16;

/// Bytes of a record whose id is written so: five numbers, the id with two, its amounts and three more.
const RECORD_MAX: usize = (5 + 2 + AMOUNTS + 3) * U64_MAX + PACKED_MAX;

/// What many records have in common.
#[derive(Clone, Copy, Debug, Eq, Hash)]
struct Kind<'a> {
    provider: &'a str,
    method: &'a str,
    endpoint: &'a str,
    model: Option<&'a str>,
    price_version: Option<&'a str>,
    status: Option<u16>,
    outcome: Outcome,
    denial: Option<DenialCode>,
    streamed: bool,
}

/// As it would be derived, but that names which are the same text in memory, as most are, are not read.
impl PartialEq for Kind<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        (self.status, self.outcome, self.denial, self.streamed)
            == (other.status, other.outcome, other.denial, other.streamed)
            && is_same(self.provider, other.provider)
            && is_same(self.method, other.method)
            && is_same(self.endpoint, other.endpoint)
            && is_same_or_none(self.model, other.model)
            && is_same_or_none(self.price_version, other.price_version)
    }
}

#[inline]
fn is_same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

#[inline]
fn is_same_or_none(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl<'a> Kind<'a> {
    fn of(record: &'a UsageRecord) -> Self {
        Self {
            provider: &record.provider,
            method: &record.method,
            endpoint: &record.endpoint,
            model: record.model.as_deref(),
            price_version: record.price_version.as_deref(),
            status: record.status,
            outcome: record.outcome,
            denial: record.denial,
            streamed: record.streamed,
        }
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        let names =
            [Some(self.provider), Some(self.method), Some(self.endpoint), self.model, self.price_version];
        names.into_iter().flatten()
    }

    fn put(&self, to: &mut Vec<u8>) {
        put_text(to, self.provider);
        put_text(to, self.method);
        put_text(to, self.endpoint);
        put_text(to, self.outcome.as_str());
        put_optional(to, self.status.map(u64::from));
        to.push(
            u8::from(self.streamed)
                | u8::from(self.model.is_some()) << 1
                | u8::from(self.price_version.is_some()) << 2
                | u8::from(self.denial.is_some()) << 3,
        );
        let words = [self.model, self.price_version, self.denial.map(DenialCode::as_str)];
        words.into_iter().flatten().for_each(|word| put_text(to, word));
    }

    fn take(from: &mut Bytes<'a>) -> Result<Self, Damaged> {
        let (provider, method, endpoint) = (from.text()?, from.text()?, from.text()?);
        let outcome = Outcome::parse(from.text()?).ok_or(Damaged::Content)?;
        let status = from.optional()?.map(u16::try_from).transpose().map_err(|_| Damaged::Content)?;
        let flags = from.byte()?;
        if flags > 15 {
            return Err(Damaged::Content);
        }
        let mut word = |bit: u8| (flags & bit != 0).then(|| from.text()).transpose();
        let (model, price_version, denial) = (word(2)?, word(4)?, word(8)?);
        let denial = denial.map(|word| denial_of(word).ok_or(Damaged::Content)).transpose()?;
        let streamed = flags & 1 != 0;
        Ok(Self { provider, method, endpoint, model, price_version, status, outcome, denial, streamed })
    }
}

/// The denial of this word.
pub(super) fn denial_of(word: &str) -> Option<DenialCode> {
    DenialCode::ALL.into_iter().find(|code| code.as_str() == word)
}

/// So many values are looked through faster than they are hashed.
const FEW: usize = 8;

/// Values that are named by the number of their first occurrence.
#[derive(Debug)]
struct Numbers<T, S = RandomState> {
    order: Vec<T>,
    numbers: HashMap<T, usize, S>,
    last: usize,
    /// So many may come.
    room: usize,
}

impl<T: Copy + Eq + Hash, S: BuildHasher + Default> Numbers<T, S> {
    fn with_room(room: usize) -> Self {
        Self { order: Vec::new(), numbers: HashMap::default(), last: 0, room }
    }

    fn number(&mut self, value: T) -> usize {
        // Often the same one as before.
        if self.order.get(self.last) != Some(&value) {
            self.last = self.find(value);
            if self.last == self.order.len() {
                self.order.push(value);
            }
        }
        self.last
    }

    /// Its number, which is the next one if it is new. As long as there are few they are not worth a map.
    fn find(&mut self, value: T) -> usize {
        if self.order.len() < FEW {
            return self.order.iter().position(|known| *known == value).unwrap_or(self.order.len());
        }
        if self.numbers.is_empty() {
            self.numbers.reserve(self.room);
            self.numbers.extend(self.order.iter().copied().zip(0..));
        }
        *self.numbers.entry(value).or_insert(self.order.len())
    }
}

/// A block that is being filled.
#[derive(Debug)]
pub(super) struct BlockWriter<'a> {
    keys: Numbers<KeyId, BuildHasherDefault<IdHasher>>,
    kinds: Numbers<Kind<'a>>,
    clients: Numbers<IpAddr>,
    records: Vec<u8>,
    /// Bytes of the names in the kinds.
    names: usize,
    count: usize,
    first_seq: u64,
    times: RangeInclusive<Timestamp>,
    last_seq: u64,
    last_at: u64,
    last_request_id: &'a str,
}

impl<'a> BlockWriter<'a> {
    /// With room for so many records, of a key each.
    pub(super) fn with_room(records: usize) -> Self {
        let records = records.min(RECORDS_MAX);
        Self {
            keys: Numbers::with_room(records),
            kinds: Numbers::with_room(0),
            clients: Numbers::with_room(0),
            records: Vec::with_capacity(records * 48),
            names: 0,
            count: 0,
            first_seq: 0,
            times: Timestamp(u64::MAX)..=Timestamp(0),
            last_seq: 0,
            last_at: 0,
            last_request_id: "",
        }
    }

    /// Adds a record whose number is higher than those before.
    pub(super) fn push(&mut self, seq: u64, record: &'a UsageRecord) {
        let to = &mut Short::<RECORD_MAX>::new();
        put_u64(to, seq.checked_sub(self.last_seq).expect("numbers of records grow"));
        put_step(to, self.last_at, record.at.0);
        put_len(to, self.keys.number(record.key));
        let kinds = self.kinds.order.len();
        put_len(to, self.kinds.number(Kind::of(record)));
        if self.kinds.order.len() > kinds {
            self.names += Kind::of(record).names().map(str::len).sum::<usize>();
        }
        put_len(to, record.client.map_or(0, |client| self.clients.number(client) + 1));
        let (before, request_id) = (self.last_request_id.as_bytes(), record.request_id.as_bytes());
        let common = common(before, request_id);
        if !put_packed_id(to, common, request_id) {
            put_len(to, common);
            put_len(to, (request_id.len() - common) << 1);
            to.move_to(&mut self.records);
            self.records.extend_from_slice(&request_id[common..]);
        }
        let amounts = amounts(record);
        let mut bits = 0_u64;
        for (index, amount) in amounts.iter().enumerate() {
            bits |= u64::from(*amount > 0) << index;
        }
        put_u64(to, bits | u64::from(record.first_byte_ms.is_some()) << AMOUNTS);
        while bits > 0 {
            put_u64(to, amounts[bits.trailing_zeros() as usize]);
            bits &= bits - 1;
        }
        put_u64(to, record.latency_ms);
        record.first_byte_ms.into_iter().for_each(|ms| put_u64(to, ms));
        to.move_to(&mut self.records);
        if self.count == 0 {
            self.first_seq = seq;
        }
        self.count += 1;
        self.times = (*self.times.start()).min(record.at)..=(*self.times.end()).max(record.at);
        (self.last_seq, self.last_at, self.last_request_id) = (seq, record.at.0, &record.request_id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Numbers of the first and the last record.
    pub(super) fn seqs(&self) -> RangeInclusive<u64> {
        self.first_seq..=self.last_seq
    }

    /// The earliest and the latest time of a record.
    pub(super) fn times(&self) -> RangeInclusive<Timestamp> {
        self.times.clone()
    }

    /// Whether the next record belongs into the next block.
    pub(super) fn is_full(&self) -> bool {
        self.count >= RECORDS_MAX || self.records.len() + self.names >= BYTES_MAX
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.records.len() + 16 * self.keys.order.len() + 256);
        to.push(VERSION);
        put_len(&mut to, self.keys.order.len());
        self.keys.order.iter().for_each(|key| to.extend_from_slice(&key.0));
        put_len(&mut to, self.kinds.order.len());
        self.kinds.order.iter().for_each(|kind| kind.put(&mut to));
        put_len(&mut to, self.clients.order.len());
        for client in &self.clients.order {
            match client {
                IpAddr::V4(address) => put_bytes(&mut to, &address.octets()),
                IpAddr::V6(address) => put_bytes(&mut to, &address.octets()),
            }
        }
        put_len(&mut to, self.count);
        to.extend_from_slice(&self.records);
        seal(&mut to);
        to
    }
}

fn amounts(record: &UsageRecord) -> [u64; AMOUNTS] {
    let mut amounts = [0; AMOUNTS];
    let Units { activations, tokens, spend_nanos } = record.charged;
    amounts[..TokenCounts::KINDS].copy_from_slice(&record.tokens.to_array());
    amounts[TokenCounts::KINDS..].copy_from_slice(&[activations, tokens, spend_nanos]);
    amounts
}

/// What differs from the id before, a pair of hexadecimal digits as a byte; `false`, and nothing, where that can't be. The
/// other way is its bytes as they are.
#[inline]
fn put_packed_id<const N: usize>(to: &mut Short<N>, common: usize, id: &[u8]) -> bool {
    // A digit more of it makes pairs.
    let even = if (id.len() - common).is_multiple_of(2) { common } else { common.saturating_sub(1) };
    let (pairs, rest) = id[even..].as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > PACKED_MAX {
        return false;
    }
    let begin = to.len();
    put_len(to, even);
    put_len(to, pairs.len() << 1 | 1);
    for [high, low] in pairs {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            to.truncate(begin);
            return false;
        };
        to.put(high << 4 | low);
    }
    true
}

/// How many bytes at the beginning are the same.
fn common(one: &[u8], other: &[u8]) -> usize {
    // Eight at a time: most of an id is that of the one before.
    let (words, other_words) = (one.as_chunks::<8>().0, other.as_chunks::<8>().0);
    let same = 8 * words.iter().zip(other_words).take_while(|(one, other)| one == other).count();
    same + one[same..].iter().zip(&other[same..]).take_while(|(one, other)| one == other).count()
}

#[inline]
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn take_request_id(from: &mut Bytes<'_>, id: &mut Vec<u8>) -> Result<(), Damaged> {
    let common = from.len()?;
    if common > id.len() {
        return Err(Damaged::Content);
    }
    id.truncate(common);
    let length = from.len()?;
    let rest = from.take(length >> 1)?;
    if length & 1 == 0 {
        id.extend_from_slice(rest);
    } else {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in rest {
            id.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    Ok(())
}

fn take_client(from: &mut Bytes<'_>) -> Result<IpAddr, Damaged> {
    let octets = from.bytes()?;
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).map_err(|_| Damaged::Content)
}

/// A block that is being read, from its first record on.
#[derive(Debug)]
pub(super) struct BlockReader<'a> {
    keys: Vec<KeyId>,
    kinds: Vec<Kind<'a>>,
    clients: Vec<IpAddr>,
    records: Bytes<'a>,
    left: usize,
    row: Row,
    request_id: Vec<u8>,
}

/// The numbers of a record.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    seq: u64,
    at: u64,
    key: usize,
    kind: usize,
    client: Option<IpAddr>,
    amounts: [u64; AMOUNTS],
    latency_ms: u64,
    first_byte_ms: Option<u64>,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(block: &'a [u8]) -> Result<Self, Damaged> {
        let mut from = Bytes::unseal(block, VERSION)?;
        let keys = (0..from.count()?).map(|_| from.array().map(KeyId)).collect::<Result<_, _>>()?;
        let kinds = (0..from.count()?).map(|_| Kind::take(&mut from)).collect::<Result<_, _>>()?;
        let clients = (0..from.count()?).map(|_| take_client(&mut from)).collect::<Result<_, _>>()?;
        let left = from.count()?;
        Ok(Self { keys, kinds, clients, records: from, left, row: Row::default(), request_id: Vec::new() })
    }

    /// The keys that occur.
    pub(super) fn keys(&self) -> &[KeyId] {
        &self.keys
    }

    /// Goes to the next record; `false` after the last one.
    pub(super) fn advance(&mut self) -> Result<bool, Damaged> {
        if self.left == 0 {
            self.records.clone().end()?;
            return Ok(false);
        }
        self.left -= 1;
        let from = &mut self.records;
        let seq = self.row.seq.checked_add(from.u64()?).filter(|seq| *seq > self.row.seq);
        let seq = seq.ok_or(Damaged::Content)?;
        let at = from.step(self.row.at)?;
        let (key, kind, client) = (from.len()?, from.len()?, from.len()?);
        let client = client.checked_sub(1).map(|number| self.clients.get(number).copied());
        let client = client.map(|found| found.ok_or(Damaged::Content)).transpose()?;
        if key >= self.keys.len() || kind >= self.kinds.len() {
            return Err(Damaged::Content);
        }
        take_request_id(from, &mut self.request_id)?;
        let bits = from.u64()?;
        let mut amounts = [0; AMOUNTS];
        if bits >> AMOUNTS > 1 {
            return Err(Damaged::Content);
        }
        for (index, amount) in amounts.iter_mut().enumerate() {
            if bits >> index & 1 == 1 {
                *amount = from.u64()?;
            }
        }
        let latency_ms = from.u64()?;
        let first_byte_ms = (bits >> AMOUNTS == 1).then(|| from.u64()).transpose()?;
        self.row = Row { seq, at, key, kind, client, amounts, latency_ms, first_byte_ms };
        Ok(true)
    }

    /// The number of the record.
    pub(super) fn seq(&self) -> u64 {
        self.row.seq
    }

    /// Whose it is.
    pub(super) fn key(&self) -> KeyId {
        self.keys[self.row.key]
    }

    /// When it came.
    pub(super) fn at(&self) -> Timestamp {
        Timestamp(self.row.at)
    }

    /// Whether a query asks for it.
    pub(super) fn fits(&self, query: &UsageQuery) -> bool {
        let (filter, kind, at) = (&query.filter, &self.kinds[self.row.kind], self.at());
        query.before.is_none_or(|before| self.row.seq < before)
            && filter.key.is_none_or(|key| key == self.keys[self.row.key])
            && filter.keys.as_ref().is_none_or(|keys| keys.contains(&self.keys[self.row.key]))
            && query.outcome.is_none_or(|outcome| outcome == kind.outcome)
            && filter.provider.as_ref().is_none_or(|provider| provider == kind.provider)
            && filter.model.as_ref().is_none_or(|model| Some(model.as_str()) == kind.model)
            && filter.since.is_none_or(|since| at >= since)
            && filter.until.is_none_or(|until| at < until)
    }

    /// The sum that it belongs to, if any, and what it adds to it.
    pub(super) fn total(&self) -> Option<(TotalKey<&'a str>, [u64; usage_totals::AMOUNTS])> {
        let Row { key, kind, amounts: [counts @ .., activations, tokens, spend_nanos], .. } = self.row;
        let kind = &self.kinds[kind];
        let charged = Units { activations, tokens, spend_nanos };
        let names = [kind.provider, kind.model.unwrap_or_default(), kind.endpoint];
        let place = TotalKey::of(self.at(), self.keys[key], names, kind.status, kind.outcome, charged)?;
        Some((place, usage_totals::amounts(TokenCounts::from_array(counts), charged)))
    }

    /// The record.
    pub(super) fn record(&self) -> Result<UsageRecord, Damaged> {
        let Row { key, kind, client, amounts, latency_ms, first_byte_ms, .. } = self.row;
        let kind = &self.kinds[kind];
        let [counts @ .., activations, tokens, spend_nanos] = amounts;
        let request_id = String::from_utf8(self.request_id.clone()).map_err(|_| Damaged::Content)?;
        Ok(UsageRecord {
            at: self.at(),
            request_id,
            key: self.keys[key],
            provider: kind.provider.into(),
            method: kind.method.to_owned().into(),
            endpoint: kind.endpoint.to_owned().into(),
            model: kind.model.map(str::to_owned),
            status: kind.status,
            outcome: kind.outcome,
            denial: kind.denial,
            tokens: TokenCounts::from_array(counts),
            charged: Units { activations, tokens, spend_nanos },
            price_version: kind.price_version.map(Arc::from),
            latency_ms,
            first_byte_ms,
            client,
            streamed: kind.streamed,
        })
    }
}

/// All records of a block with their numbers.
pub(super) fn records(block: &[u8]) -> Result<Vec<(u64, UsageRecord)>, Damaged> {
    let mut reader = BlockReader::new(block)?;
    let mut records = Vec::with_capacity(reader.left);
    while reader.advance()? {
        records.push((reader.seq(), reader.record()?));
    }
    Ok(records)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use till_core::denial::DenialCode;
    use till_core::key::KeyId;
    use till_core::limit::Units;
    use till_core::time::Timestamp;

    use super::{BlockReader, BlockWriter, PACKED_MAX, RECORDS_MAX, records};
    use crate::conformance::waiting::Random;
    use crate::sqlite::bytes::{Damaged, seal, with_flipped_bits};
    use crate::usage_record::{Outcome, TokenCounts, UsageRecord};

    /// Small and large numbers alike.
    pub(in crate::sqlite) fn number(random: &mut Random) -> u64 {
        match random.below(6) {
            0 | 1 => 0,
            2 => random.below(300),
            3 => u64::MAX,
            _ => random.below(u64::MAX) >> random.below(64),
        }
    }

    fn text(random: &mut Random) -> String {
        const TEXTS: [&str; 6] = ["", "gpt-4o", "req_", "é\u{1f980}", "\0\n", "ABCDEF"];
        match random.below(4) {
            0 => format!("req_0a1b2c3d4e5f{:08x}", random.below(1 << 32)),
            1 => format!("{:x}", random.below(1 << 20)),
            _ => TEXTS[random.index(TEXTS.len())].repeat(random.index(3)),
        }
    }

    pub(in crate::sqlite) fn key(random: &mut Random) -> KeyId {
        KeyId([random.below(4).to_le_bytes()[0]; 16])
    }

    pub(in crate::sqlite) fn record(random: &mut Random) -> UsageRecord {
        let some = random.below(1 << 10);
        let is = |bit: u32| some >> bit & 1 == 1;
        UsageRecord {
            at: Timestamp(if is(0) { 1_800_000_000_000 + random.below(99_999) } else { number(random) }),
            request_id: text(random),
            key: key(random),
            provider: text(random).into(),
            method: "POST".into(),
            endpoint: text(random).into(),
            model: is(1).then(|| text(random)),
            status: is(2).then(|| u16::try_from(random.below(1 << 16)).unwrap()),
            outcome: Outcome::ALL[random.index(Outcome::ALL.len())],
            denial: is(3).then(|| DenialCode::ALL[random.index(DenialCode::ALL.len())]),
            tokens: TokenCounts::from_array([(); TokenCounts::KINDS].map(|()| number(random))),
            charged: Units {
                activations: number(random),
                tokens: number(random),
                spend_nanos: number(random),
            },
            price_version: is(4).then(|| text(random).into()),
            latency_ms: number(random),
            first_byte_ms: is(5).then(|| number(random)),
            client: match random.below(3) {
                0 => None,
                1 => Some(IpAddr::from(u32::try_from(random.below(1 << 32)).unwrap().to_be_bytes())),
                _ => Some(IpAddr::from(u128::from(random.below(9)).to_be_bytes())),
            },
            streamed: is(6),
        }
    }

    fn some_records(seed: u64) -> Vec<(u64, UsageRecord)> {
        let mut random = Random(seed);
        let mut seq = 0;
        let count = random.index(40) + 1;
        let numbered = |_| {
            seq += 1 + number(&mut random) % (1 << 40);
            // Of more keys than are looked through.
            let key = KeyId([random.below(12).to_le_bytes()[0]; 16]);
            (seq, UsageRecord { key, ..record(&mut random) })
        };
        (0..count).map(numbered).collect()
    }

    fn block(records: &[(u64, UsageRecord)]) -> Vec<u8> {
        let mut writer = BlockWriter::with_room(0);
        records.iter().for_each(|(seq, record)| writer.push(*seq, record));
        writer.into_bytes()
    }

    #[test]
    fn a_block_gives_back_its_records() {
        for seed in 0..2_000 {
            let expected = some_records(seed);
            assert_eq!(records(&block(&expected)).unwrap(), expected, "seed {seed}");
        }
        assert_eq!(records(&BlockWriter::with_room(0).into_bytes()), Ok(vec![]));
    }

    #[test]
    fn the_largest_record_has_room() {
        let record = UsageRecord {
            at: Timestamp(1 << 63),
            request_id: "f".repeat(2 * PACKED_MAX),
            tokens: TokenCounts::from_array([u64::MAX; TokenCounts::KINDS]),
            charged: Units { activations: u64::MAX, tokens: u64::MAX, spend_nanos: u64::MAX },
            latency_ms: u64::MAX,
            first_byte_ms: Some(u64::MAX),
            ..record(&mut Random(1))
        };
        let longer = UsageRecord { request_id: "f".repeat(2 * PACKED_MAX + 2), ..record.clone() };
        for record in [record, longer] {
            let expected = [(u64::MAX, record)];
            assert_eq!(records(&block(&expected)).unwrap(), expected);
        }
    }

    #[test]
    fn an_ordinary_record_takes_few_bytes() {
        let mut random = Random(1);
        let mut writer = BlockWriter::with_room(0);
        let records: Vec<UsageRecord> = (0..RECORDS_MAX as u64)
            .map(|n| UsageRecord {
                at: Timestamp(1_800_000_000_000 + 3 * n),
                request_id: format!("req_0a1b2c3d4e5f{n:08x}"),
                key: KeyId(u128::from(random.below(u64::MAX)).to_be_bytes()),
                provider: "openai".into(),
                method: "POST".into(),
                endpoint: "chat.completions".into(),
                model: Some("gpt-4o-mini-2024-07-18".into()),
                status: Some(200),
                outcome: Outcome::Complete,
                denial: None,
                tokens: TokenCounts { input: 812, output: 133, cache_read: 512, ..TokenCounts::default() },
                charged: Units { activations: 1, tokens: 945, spend_nanos: 205_000 },
                price_version: Some("2026-11-01".into()),
                latency_ms: 1_234,
                first_byte_ms: Some(210),
                client: Some([10, 0, 0, 1].into()),
                streamed: true,
            })
            .collect();
        for (seq, record) in (1..).zip(&records) {
            assert!(!writer.is_full());
            writer.push(seq, record);
        }
        assert!(writer.is_full());
        let bytes = writer.into_bytes().len();
        assert!(
            bytes < 44 * RECORDS_MAX,
            "{} for each, of which 16 are of a key of its own",
            bytes / RECORDS_MAX
        );
    }

    /// Whatever the bytes are, reading them ends with records or an error.
    #[test]
    fn damage_is_an_error_and_no_panic() {
        let mut found = 0;
        for seed in 0..300 {
            let mut random = Random(seed);
            let sound = block(&some_records(seed));
            for _ in 0..40 {
                let mut damaged = with_flipped_bits(&sound, &mut random);
                if damaged != sound {
                    assert_eq!(records(&damaged), Err(Damaged::Checksum), "seed {seed}");
                }
                assert!(records(&sound[..random.index(sound.len())]).is_err(), "seed {seed}");
                // As if somebody had made it like this.
                damaged.truncate(damaged.len() - 4 - random.index((damaged.len() - 4).min(9)));
                seal(&mut damaged);
                if let Ok(mut reader) = BlockReader::new(&damaged) {
                    while let Ok(true) = reader.advance() {
                        found += usize::from(reader.record().is_ok());
                    }
                }
            }
        }
        assert!(found > 0, "some of it still says something");
    }
}
