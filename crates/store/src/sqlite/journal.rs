//! What calls change all the time, written as one row per batch.
//!
//! An entry says what is true after it: the figures of accounts, which holds are open, the totals of months; and what
//! happened: records, denials. Applied in order, each once, entries lead to what the tables would say if every batch had
//! been written to them. [`super::fold`] does that.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, params};
use till_core::id_map::IdMap;
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{
    Account, AccountId, Balance, BalanceParts, HoldId, HoldKind, Ledger, OpenHold, Unbalanced,
};
use till_core::limit::Units;
use till_core::time::{Month, Timestamp};

use super::block::{self, BlockWriter, denial_of};
use super::bytes::{
    Bytes, Damaged, Short, U64_MAX, U128_MAX, put_bytes, put_len, put_optional, put_step, put_text, put_u64,
    put_u128, seal,
};
use super::column::{account_parts, chain_bytes, chain_from_bytes};
use crate::backend::{Batch, DenialCount};
use crate::usage_record::UsageRecord;

/// First byte of an entry. Another layout gets another one.
const VERSION: u8 = 1;

/// Figures of an account that calls change: what else there is to it stands in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountImage {
    pub(super) balances: [BalanceParts; 3],
    /// One of [`STATUSES`]: what the figures come to, to be searched for. So is `ends_at`.
    pub(super) status: KeyStatus,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) ends_at: Option<Timestamp>,
}

/// States that no clock has a say in, in the order of their numbers.
const STATUSES: [KeyStatus; 3] = [KeyStatus::Active, KeyStatus::Exhausted, KeyStatus::Revoked];

/// Of each dimension, and of all three.
const FIGURES: usize = 6;
const ALL_FIGURES: usize = 3 * FIGURES;

/// Bytes of the figures of an account, at most: which of them there are, they, the status and three times.
const IMAGE_MAX: usize = U64_MAX + ALL_FIGURES * U128_MAX + 4 * U64_MAX;

impl AccountImage {
    pub(super) fn of(account: &Account, is_in_use: bool) -> Self {
        Self {
            balances: {
                let [activations, tokens, spend] = account.balances();
                [*activations.parts(), *tokens.parts(), *spend.parts()]
            },
            status: account.timeless_status(),
            revoked_at: account.revoked_at,
            last_used_at: account.last_used_at,
            ends_at: account.ends_at(is_in_use),
        }
    }

    /// The account, of which the row says the rest.
    pub(super) fn over(&self, row: Option<Account>) -> std::result::Result<Account, Unbalanced> {
        let [activations, tokens, spend] = self.balances.map(Balance::from_parts);
        let mut account = Account::from_balances([activations?, tokens?, spend?]);
        (account.revoked_at, account.last_used_at) = (self.revoked_at, self.last_used_at);
        if let Some(row) = row {
            (account.lifetime, account.idle_from) = (row.lifetime, row.idle_from);
            (account.expired_at, account.paused_at) = (row.expired_at, row.paused_at);
        }
        Ok(account)
    }

    fn put(&self, to: &mut Short<IMAGE_MAX>) {
        let figures = self.balances.each_ref().map(figures);
        let figures = figures.as_flattened();
        let mut bits = 0_u64;
        for (index, figure) in figures.iter().enumerate() {
            bits |= u64::from(*figure > 0) << index;
        }
        put_u64(to, bits);
        while bits > 0 {
            let figure = figures[bits.trailing_zeros() as usize];
            match u64::try_from(figure) {
                Ok(figure) => put_u64(to, figure),
                Err(_) => put_u128(to, figure),
            }
            bits &= bits - 1;
        }
        let status = STATUSES.iter().position(|status| *status == self.status);
        put_len(to, status.expect("the other states depend on a clock"));
        let times = [self.revoked_at, self.last_used_at, self.ends_at];
        times.into_iter().for_each(|time| put_optional(to, time.map(|time| time.0)));
    }

    fn take(from: &mut Bytes<'_>) -> std::result::Result<Self, Damaged> {
        let bits = from.u64()?;
        let mut figures = [[0; FIGURES]; 3];
        if bits >> ALL_FIGURES != 0 {
            return Err(Damaged::Content);
        }
        for (index, figure) in figures.as_flattened_mut().iter_mut().enumerate() {
            if bits >> index & 1 == 1 {
                *figure = from.u128()?;
            }
        }
        let [activations, tokens, spend] = figures.map(parts);
        let balances = [activations?, tokens?, spend?];
        let status = *STATUSES.get(from.len()?).ok_or(Damaged::Content)?;
        let mut time = || Ok(from.optional()?.map(Timestamp));
        Ok(Self { balances, status, revoked_at: time()?, last_used_at: time()?, ends_at: time()? })
    }
}

/// A limit is one more than it is, so that there may be none.
fn figures(parts: &BalanceParts) -> [u128; FIGURES] {
    let limit = parts.limit.map_or(0, |limit| u128::from(limit) + 1);
    [limit, parts.held, parts.spent, parts.escrowed, parts.burnt, parts.overrun]
}

fn parts(figures: [u128; FIGURES]) -> std::result::Result<BalanceParts, Damaged> {
    let [limit, held, spent, escrowed, burnt, overrun] = figures;
    let limit = limit.checked_sub(1).map(u64::try_from).transpose().map_err(|_| Damaged::Content)?;
    let parts = BalanceParts { limit, held, spent, escrowed, burnt, overrun };
    Balance::from_parts(parts).map(|balance| *balance.parts()).map_err(|_| Damaged::Content)
}

/// Figures of accounts as bytes, because they are replaced far more often than they are looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AccountImages {
    bytes: Vec<u8>,
    /// Where each begins.
    places: Vec<(AccountId, usize)>,
}

impl AccountImages {
    /// With room for so many, of which few are larger.
    fn with_room(accounts: usize) -> Self {
        Self { bytes: Vec::with_capacity(accounts * 64), places: Vec::with_capacity(accounts) }
    }

    fn push(&mut self, id: AccountId, image: &AccountImage) {
        self.places.push((id, self.bytes.len()));
        put_account_id(&mut self.bytes, &id);
        let mut short = Short::new();
        image.put(&mut short);
        short.move_to(&mut self.bytes);
    }

    fn put(&self, to: &mut Vec<u8>) {
        put_len(to, self.places.len());
        to.extend_from_slice(&self.bytes);
    }

    fn take(from: &mut Bytes<'_>) -> std::result::Result<Self, Damaged> {
        let mut images = Self::default();
        for _ in 0..from.count()? {
            images.push(take_account_id(from)?, &AccountImage::take(from)?);
        }
        Ok(images)
    }
}

/// The newest figures of accounts.
#[derive(Debug, Default)]
pub(super) struct NewestImages {
    bytes: Vec<u8>,
    places: IdMap<AccountId, usize>,
}

impl NewestImages {
    pub(super) fn add(&mut self, images: &AccountImages) {
        let first = self.bytes.len();
        self.bytes.extend_from_slice(&images.bytes);
        self.places.extend(images.places.iter().map(|(id, place)| (*id, first + place)));
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, id: AccountId) -> Option<AccountImage> {
        let mut from = Bytes::new(&self.bytes[*self.places.get(&id)?..]);
        let image = take_account_id(&mut from).and_then(|_| AccountImage::take(&mut from));
        Some(image.expect("what was encoded can be decoded"))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = AccountId> {
        self.places.keys().copied()
    }
}

/// What one batch says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) accounts: AccountImages,
    pub(super) holds: Vec<(HoldId, HoldImage)>,
    pub(super) holds_closed: Vec<HoldId>,
    pub(super) records: Vec<Arc<UsageRecord>>,
    pub(super) months: Vec<(Month, u128)>,
    pub(super) denials: Vec<DenialCount>,
    pub(super) time_seen: Option<Timestamp>,
}

/// An open hold as it is after the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HoldImage {
    pub(super) hold: OpenHold,
    /// Granted in this batch, so that no table knows it.
    pub(super) is_new: bool,
}

impl Entry {
    /// What the batch says of the things that an entry is about.
    pub(super) fn of(batch: &Batch, ledger: &Ledger) -> Self {
        let mut accounts = AccountImages::with_room(batch.accounts.len());
        for id in &batch.accounts {
            // An account that was written to is loaded until the batch is committed.
            let account = ledger.account(*id).expect("a changed account is loaded");
            accounts.push(*id, &AccountImage::of(account, ledger.is_pinned(*id)));
        }
        let image =
            |id: &HoldId, is_new| Some((*id, HoldImage { hold: ledger.open_hold(*id)?.clone(), is_new }));
        let opened = batch.holds_opened.iter().filter_map(|id| image(id, true));
        let changed = batch.holds_changed.iter().filter_map(|id| image(id, false));
        Self {
            accounts,
            holds: opened.chain(changed).collect(),
            holds_closed: batch.holds_closed.clone(),
            records: batch.usage.clone(),
            months: batch.months.clone(),
            denials: batch.denials.clone(),
            time_seen: batch.time_seen,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut to =
            Vec::with_capacity(64 + self.accounts.bytes.len() + 48 * (self.holds.len() + self.records.len()));
        to.push(VERSION);
        put_optional(&mut to, self.time_seen.map(|time| time.0));
        self.accounts.put(&mut to);
        let (mut last, mut chain) = (HoldId { incarnation: 0, number: 0 }, Vec::new());
        put_list(&mut to, &self.holds, |to, (id, image)| {
            put_hold_id(to, &mut last, *id);
            image.put(to, &mut chain);
        });
        put_list(&mut to, &self.holds_closed, |to, id| put_hold_id(to, &mut last, *id));
        put_list(&mut to, &self.months, |to, (month, total)| {
            put_u64(to, month.0);
            put_u128(to, *total);
        });
        put_list(&mut to, &self.denials, put_denial);
        let mut records = BlockWriter::with_room(self.records.len());
        for (number, record) in (1..).zip(&self.records) {
            records.push(number, record);
        }
        put_bytes(&mut to, &if records.is_empty() { Vec::new() } else { records.into_bytes() });
        seal(&mut to);
        to
    }

    pub(super) fn from_bytes(entry: &[u8]) -> std::result::Result<Self, Damaged> {
        let mut from = Bytes::unseal(entry, VERSION)?;
        let time_seen = from.optional()?.map(Timestamp);
        let accounts = AccountImages::take(&mut from)?;
        let mut last = HoldId { incarnation: 0, number: 0 };
        let holds =
            take_list(&mut from, |from| Ok((take_hold_id(from, &mut last)?, HoldImage::take(from)?)))?;
        let holds_closed = take_list(&mut from, |from| take_hold_id(from, &mut last))?;
        let months = take_list(&mut from, |from| Ok((Month(from.u64()?), from.u128()?)))?;
        let denials = take_list(&mut from, take_denial)?;
        let records = match from.bytes()? {
            [] => Vec::new(),
            block => block::records(block)?.into_iter().map(|(_, record)| Arc::new(record)).collect(),
        };
        from.end()?;
        Ok(Self { accounts, holds, holds_closed, records, months, denials, time_seen })
    }
}

impl HoldImage {
    fn put(&self, to: &mut Vec<u8>, chain: &mut Vec<u8>) {
        let OpenHold { accounts, kind, units, at } = &self.hold;
        to.push(u8::from(self.is_new));
        put_optional(
            to,
            match kind {
                HoldKind::Call => None,
                HoldKind::Escrow { settled } => Some(*settled),
            },
        );
        put_u64(to, at.0);
        [units.activations, units.tokens, units.spend_nanos]
            .into_iter()
            .for_each(|amount| put_u64(to, amount));
        chain_bytes(accounts, chain);
        put_bytes(to, chain);
    }

    fn take(from: &mut Bytes<'_>) -> std::result::Result<Self, Damaged> {
        let is_new = match from.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Damaged::Content),
        };
        let kind = from.optional()?.map_or(HoldKind::Call, |settled| HoldKind::Escrow { settled });
        let at = Timestamp(from.u64()?);
        let units = Units { activations: from.u64()?, tokens: from.u64()?, spend_nanos: from.u64()? };
        let accounts = chain_from_bytes(from.bytes()?).ok_or(Damaged::Content)?;
        Ok(Self { hold: OpenHold { accounts, kind, units, at }, is_new })
    }
}

fn put_list<T>(to: &mut Vec<u8>, list: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_len(to, list.len());
    list.iter().for_each(|item| put(to, item));
}

fn take_list<'a, T>(
    from: &mut Bytes<'a>,
    mut take: impl FnMut(&mut Bytes<'a>) -> std::result::Result<T, Damaged>,
) -> std::result::Result<Vec<T>, Damaged> {
    (0..from.count()?).map(|_| take(from)).collect()
}

fn put_account_id(to: &mut Vec<u8>, id: &AccountId) {
    to.push(u8::from(matches!(id, AccountId::Ceiling(_))));
    to.extend_from_slice(account_parts(id).1);
}

fn take_account_id(from: &mut Bytes<'_>) -> std::result::Result<AccountId, Damaged> {
    match from.byte()? {
        0 => Ok(AccountId::Key(KeyId(from.array()?))),
        1 => Ok(AccountId::Ceiling(from.array()?)),
        _ => Err(Damaged::Content),
    }
}

/// The distance to the one before.
fn put_hold_id(to: &mut Vec<u8>, last: &mut HoldId, id: HoldId) {
    put_step(to, last.incarnation, id.incarnation);
    put_step(to, last.number, id.number);
    *last = id;
}

fn take_hold_id(from: &mut Bytes<'_>, last: &mut HoldId) -> std::result::Result<HoldId, Damaged> {
    *last = HoldId { incarnation: from.step(last.incarnation)?, number: from.step(last.number)? };
    Ok(*last)
}

fn put_denial(to: &mut Vec<u8>, denial: &DenialCount) {
    put_bytes(to, denial.key.as_ref().map_or(&[], |key| &key.0));
    put_text(to, denial.code.as_str());
    put_u64(to, denial.minute);
    put_u64(to, denial.count);
}

fn take_denial(from: &mut Bytes<'_>) -> std::result::Result<DenialCount, Damaged> {
    let key = match from.bytes()? {
        [] => None,
        key => Some(KeyId(key.try_into().map_err(|_| Damaged::Content)?)),
    };
    let code = denial_of(from.text()?).ok_or(Damaged::Content)?;
    Ok(DenialCount { key, code, minute: from.u64()?, count: from.u64()? })
}

/// How far the journal is in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Everything that entries up to this number say is there.
    pub(super) folded: u64,
    /// Of the records in the entries after it, in order, so many are in blocks.
    pub(super) recorded: u64,
}

pub(super) fn mark(connection: &Connection) -> Result<Mark> {
    let sql = "SELECT folded, recorded FROM journal_mark";
    connection.query_row(sql, [], |row| Ok(Mark { folded: row.get(0)?, recorded: row.get(1)? }))
}

pub(super) fn set_mark(connection: &Connection, mark: Mark) -> Result<()> {
    let sql = "UPDATE journal_mark SET folded = ?1, recorded = ?2";
    connection.prepare_cached(sql)?.execute(params![mark.folded, mark.recorded]).map(drop)
}

/// Adds an entry. Numbers have no gaps.
pub(super) fn append(connection: &Connection, number: u64, entry: &[u8]) -> Result<()> {
    let sql = "INSERT INTO journal (seq, entry) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![number, entry]).map(drop)
}

/// Everything that is in the journal after the mark, in order.
pub(super) fn entries(connection: &Connection, mark: Mark, mut take: impl FnMut(Entry, usize)) -> Result<()> {
    let mut statement = connection.prepare("SELECT seq, entry FROM journal WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([mark.folded])?;
    let mut expected = mark.folded + 1;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(1)?.as_blob()?;
        if row.get::<_, u64>(0)? != expected {
            return Err(damaged(expected, "it is missing"));
        }
        take(Entry::from_bytes(bytes).map_err(|error| damaged(expected, &error.to_string()))?, bytes.len());
        expected += 1;
    }
    Ok(())
}

/// Deletes entries up to this number, because the tables say what they say.
pub(super) fn delete(connection: &Connection, last: u64) -> Result<()> {
    connection.prepare_cached("DELETE FROM journal WHERE seq <= ?1")?.execute([last]).map(drop)
}

pub(super) fn damaged(number: u64, why: &str) -> Error {
    let reason = format!("entry {number} of the journal is damaged: {why}");
    Error::FromSqlConversionFailure(1, Type::Blob, reason.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use till_core::denial::DenialCode;
    use till_core::ledger::{AccountChain, AccountId, BalanceParts, HoldId, HoldKind, OpenHold};
    use till_core::limit::Units;
    use till_core::time::{Month, Timestamp};

    use super::{ALL_FIGURES, AccountImage, AccountImages, Entry, HoldImage, STATUSES};
    use crate::backend::DenialCount;
    use crate::conformance::waiting::Random;
    use crate::sqlite::block::tests::{key, number, record};
    use crate::sqlite::bytes::{Damaged, Short, seal, with_flipped_bits};

    #[test]
    fn the_largest_figures_have_room() {
        let most = u128::MAX;
        let parts = BalanceParts {
            limit: Some(u64::MAX),
            held: most,
            spent: most,
            escrowed: most,
            burnt: most,
            overrun: most,
        };
        let latest = Some(Timestamp(u64::MAX - 1));
        let image = AccountImage {
            balances: [parts; 3],
            status: STATUSES[STATUSES.len() - 1],
            revoked_at: latest,
            last_used_at: latest,
            ends_at: latest,
        };
        let mut bytes = Short::new();
        image.put(&mut bytes);
        assert!(bytes.len() > ALL_FIGURES * 16);
    }

    fn parts(random: &mut Random) -> BalanceParts {
        let mut amount = |bits: u32| u128::from(number(random)) << bits;
        let (held, spent, escrowed, burnt) = (amount(0), amount(60), amount(3), amount(1));
        let used = held + spent + escrowed + burnt;
        match random.below(3) {
            0 => BalanceParts { limit: None, held, spent, escrowed, burnt, overrun: 0 },
            _ => {
                let limit = number(random);
                let overrun = used.saturating_sub(limit.into()) + u128::from(random.below(9));
                BalanceParts { limit: Some(limit), held, spent, escrowed, burnt, overrun }
            }
        }
    }

    fn account(random: &mut Random) -> AccountId {
        match random.below(4) {
            0 => AccountId::Ceiling(key(random).0),
            _ => AccountId::Key(key(random)),
        }
    }

    fn hold_id(random: &mut Random) -> HoldId {
        HoldId { incarnation: random.below(9), number: number(random) }
    }

    fn some_entry(seed: u64) -> Entry {
        let mut random = Random(seed);
        let random = &mut random;
        let time = |random: &mut Random| (random.below(2) == 0).then(|| Timestamp(number(random)));
        let image = |random: &mut Random| AccountImage {
            balances: [parts(random), parts(random), parts(random)],
            status: STATUSES[random.index(3)],
            revoked_at: time(random),
            last_used_at: time(random),
            ends_at: time(random),
        };
        let hold = |random: &mut Random| {
            let ancestors: Vec<AccountId> = (0..random.below(3)).map(|_| account(random)).collect();
            let accounts = AccountChain::new(account(random), &ancestors);
            let units =
                Units { activations: number(random), tokens: number(random), spend_nanos: number(random) };
            let kind = match random.below(2) {
                0 => HoldKind::Call,
                _ => HoldKind::Escrow { settled: number(random) },
            };
            let hold = OpenHold { accounts, kind, units, at: Timestamp(number(random)) };
            HoldImage { hold, is_new: random.below(2) == 0 }
        };
        let denial = |random: &mut Random| DenialCount {
            key: (random.below(3) > 0).then(|| key(random)),
            code: DenialCode::ALL[random.index(DenialCode::ALL.len())],
            minute: number(random),
            count: number(random),
        };
        let mut accounts = AccountImages::default();
        (0..random.below(5)).for_each(|_| accounts.push(account(random), &image(random)));
        Entry {
            accounts,
            holds: (0..random.below(5)).map(|_| (hold_id(random), hold(random))).collect(),
            holds_closed: (0..random.below(5)).map(|_| hold_id(random)).collect(),
            records: (0..random.below(5)).map(|_| Arc::new(record(random))).collect(),
            months: (0..random.below(3))
                .map(|_| (Month(number(random)), u128::MAX >> random.below(128)))
                .collect(),
            denials: (0..random.below(3)).map(|_| denial(random)).collect(),
            time_seen: time(random),
        }
    }

    #[test]
    fn an_entry_gives_back_what_it_says() {
        for seed in 0..3_000 {
            let expected = some_entry(seed);
            assert_eq!(Entry::from_bytes(&expected.to_bytes()), Ok(expected), "seed {seed}");
        }
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let mut sound_ones = 0;
        for seed in 0..500 {
            let mut random = Random(seed);
            let sound = some_entry(seed).to_bytes();
            for _ in 0..40 {
                let mut damaged = with_flipped_bits(&sound, &mut random);
                if damaged != sound {
                    assert_eq!(Entry::from_bytes(&damaged), Err(Damaged::Checksum), "seed {seed}");
                }
                assert!(Entry::from_bytes(&sound[..random.index(sound.len())]).is_err(), "seed {seed}");
                // As if somebody had made it like this.
                damaged.truncate(damaged.len() - 4 - random.index((damaged.len() - 4).min(9)));
                seal(&mut damaged);
                sound_ones += usize::from(Entry::from_bytes(&damaged).is_ok());
            }
        }
        assert!(sound_ones > 0, "some of it still says something");
    }
}
