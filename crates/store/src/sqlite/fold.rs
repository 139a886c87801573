//! The way from the journal to the tables, in pieces that no call notices.
//!
//! What entries say of accounts is collected for seconds and then written, each account once, in the order of the table.
//! Records need not be collected: they go into blocks as soon as there are enough to fill some. A piece is written in the
//! transaction of the next batch, or alone when there is none.
//!
//! What a crash in the middle leaves is right as it is. Accounts, holds and months are what is true after some entry, and an
//! entry is deleted after all it says is in the tables: at the next start they are written once more. Records and counts of
//! denials must be added once. Counts come with the last piece, which in the same transaction moves the mark beyond the
//! entries; and how many of the records in the journal are in blocks is kept in the transaction that brings them there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};
use till_core::ledger::AccountId;
use till_core::time::Month;

use super::journal::{self, AccountImage, Entry, Mark};
use super::pending::Pending;
use super::sums::CatchUp;
use super::{records, write};
use crate::spare_records::SPARE_MAX;
use crate::usage_record::UsageRecord;

/// How long something may stay in the journal before its way to the tables begins.
const FOLD_EVERY: Duration = Duration::from_secs(8);

/// It begins earlier after so many bytes of entries.
const BYTES_MAX: usize = 16 << 20;

/// How long the next piece waits for a batch to go with.
const PIECE_WAIT: Duration = Duration::from_millis(10);

/// How much is written at once.
#[derive(Clone, Copy, Debug)]
struct Piece {
    records: usize,
    /// Rows of accounts or sums.
    rows: usize,
    entries: u64,
}

impl Piece {
    /// A millisecond or two.
    const SMALL: Self = Self { records: 2_048, rows: 256, entries: 512 };
    const WHOLE: Self = Self { records: usize::MAX, rows: usize::MAX, entries: u64::MAX };
}

/// What the journal says and the tables do not.
#[derive(Debug)]
pub(super) struct Fold {
    /// What the newest entries say.
    newer: Pending,
    /// Whether that is anything.
    has_newer: bool,
    newer_since: Option<Instant>,
    newer_bytes: usize,
    /// What entries before them say, on its way to the tables.
    older: Option<Older>,
    /// Records that are in no block.
    records: VecDeque<Arc<UsageRecord>>,
    /// Records that are in blocks, to be used again.
    spare: Vec<Arc<UsageRecord>>,
    mark: Mark,
    /// Rows of the journal up to this number are deleted.
    deleted: u64,
    /// Number of the newest entry.
    last: u64,
    /// Somebody waits until entries up to this one are in the tables.
    wanted: u64,
    next_piece: Option<Instant>,
    sums: CatchUp,
    piece: Piece,
}

#[derive(Debug)]
struct Older {
    pending: Pending,
    /// The accounts that are left, in the opposite order of the table.
    accounts: Vec<AccountId>,
    /// Number of the last entry.
    last: u64,
    /// Records of these entries, in blocks or not.
    records: u64,
}

impl Fold {
    /// Nothing but what is in the tables.
    pub(super) fn at(mark: Mark) -> Self {
        Self {
            newer: Pending::default(),
            has_newer: false,
            newer_since: None,
            newer_bytes: 0,
            older: None,
            records: VecDeque::new(),
            spare: Vec::new(),
            mark,
            deleted: mark.folded,
            last: mark.folded,
            wanted: 0,
            next_piece: None,
            sums: CatchUp::default(),
            piece: Piece::SMALL,
        }
    }

    /// Brings what is in the journal to the tables, in the transaction that is open on the connection.
    pub(super) fn of_journal(connection: &Connection) -> Result<Self> {
        let mark = journal::mark(connection)?;
        let mut fold = Self::at(mark);
        fold.deleted = 0;
        journal::entries(connection, mark, |entry, bytes| {
            fold.add(entry);
            fold.note_entry(bytes);
        })?;
        let recorded = usize::try_from(mark.recorded).unwrap_or(usize::MAX);
        if recorded > fold.records.len() {
            return Err(journal::damaged(fold.last + 1, "it is missing"));
        }
        fold.records.drain(..recorded);
        fold.all(connection)?;
        Ok(fold)
    }

    /// Adds what the next batch says.
    pub(super) fn add(&mut self, mut entry: Entry) {
        self.has_newer = true;
        self.records.extend(entry.records.drain(..));
        self.newer.add(entry);
    }

    /// What was added last has a row of so many bytes in the journal.
    pub(super) fn note_entry(&mut self, bytes: usize) {
        self.last += 1;
        self.newer_bytes += bytes;
        self.newer_since.get_or_insert_with(Instant::now);
    }

    /// Records that are in blocks.
    pub(super) fn take_spare_records(&mut self) -> Vec<Arc<UsageRecord>> {
        std::mem::take(&mut self.spare)
    }

    /// Number of the newest entry.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Entries up to this one are in the tables.
    pub(super) fn folded(&self) -> u64 {
        self.mark.folded
    }

    /// Whether everything is in the tables.
    pub(super) fn is_done(&self) -> bool {
        !self.has_newer && self.older.is_none() && self.deleted == self.mark.folded
    }

    /// Whether everything that is left makes one piece.
    pub(super) fn is_little(&self) -> bool {
        let older = self.older.as_ref().map_or(0, |older| older.accounts.len());
        self.newer.accounts.len() + older <= self.piece.rows
            && self.records.len() <= self.piece.records
            && self.last - self.deleted <= self.piece.entries
    }

    /// Somebody waits until everything is in the tables.
    pub(super) fn want_all(&mut self) {
        self.wanted = self.last;
    }

    /// When to write the next piece at the latest; `None` when everything is in the tables.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.wanted > self.mark.folded {
            // Whoever waits does not wait for company.
            return Some(Instant::now());
        }
        let begin = self
            .newer_since
            .map(|since| if self.newer_bytes >= BYTES_MAX { since } else { since + FOLD_EVERY });
        if self.is_under_way() { self.next_piece.or(self.newer_since) } else { begin }
    }

    /// Whether a part of it is written, or is to be with the next batch.
    fn is_under_way(&self) -> bool {
        self.is_begun() || self.sums.is_under_way()
    }

    fn is_begun(&self) -> bool {
        self.older.is_some() || self.records.len() >= self.piece.records || self.deleted < self.mark.folded
    }

    /// Whether there is something to be written with the next batch.
    pub(super) fn has_piece(&self) -> bool {
        self.is_under_way() || self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Figures of an account that its row does not have yet.
    pub(super) fn account(&self, id: AccountId) -> Option<AccountImage> {
        let older = || self.older.as_ref().and_then(|older| older.pending.accounts.get(id));
        self.newer.accounts.get(id).or_else(older)
    }

    /// Total of a month that its row does not have yet.
    pub(super) fn month_total(&self, month: Month) -> Option<u128> {
        let older = || self.older.as_ref().and_then(|older| older.pending.month_total(month));
        self.newer.month_total(month).or_else(older)
    }

    /// Writes everything, in the transaction that is open on the connection.
    pub(super) fn all(&mut self, connection: &Connection) -> Result<()> {
        while !self.is_done() {
            self.write(connection, Piece::WHOLE)?;
        }
        Ok(())
    }

    /// Writes the next piece, in the transaction that is open on the connection. When that fails this says more than is
    /// true: the file has to be opened again.
    pub(super) fn write_piece(&mut self, connection: &Connection) -> Result<()> {
        self.next_piece = Some(Instant::now() + PIECE_WAIT);
        let must_begin = self.wanted > self.mark.folded
            || self.newer_bytes >= BYTES_MAX
            || self.newer_since.is_some_and(|since| since.elapsed() >= FOLD_EVERY);
        if !self.is_begun() && !must_begin {
            self.sums.piece(connection, self.piece.records, self.piece.rows)
        } else if self.is_little() {
            self.all(connection)
        } else {
            self.write(connection, self.piece)
        }
    }

    fn write(&mut self, connection: &Connection, piece: Piece) -> Result<()> {
        if self.older.is_none() && self.records.len() < piece.records && self.deleted == self.mark.folded {
            self.begin();
        }
        let missing = self.older.as_ref().map_or(0, |older| older.records.saturating_sub(self.mark.recorded));
        if missing > 0 || self.records.len() >= piece.records {
            return self.write_records(connection, missing, piece);
        }
        if self.deleted < self.mark.folded {
            self.deleted = self.deleted.saturating_add(piece.entries).min(self.mark.folded);
            return journal::delete(connection, self.deleted);
        }
        match &mut self.older {
            Some(older) if !older.accounts.is_empty() => {
                let left = older.accounts.len().saturating_sub(piece.rows);
                let images = &older.pending.accounts;
                let piece = older.accounts.drain(left..).rev();
                let image = |id| (id, images.get(id).expect("it is there until the last piece"));
                write::accounts_put(connection, piece.map(image))
            }
            Some(_) => self.finish(connection),
            None => Ok(()),
        }
    }

    /// What the newest entries say is on its way from here on.
    fn begin(&mut self) {
        let pending = std::mem::take(&mut self.newer);
        let mut accounts: Vec<_> = pending.accounts.ids().collect();
        // Neighbours share a page.
        accounts.sort_unstable_by(|one, other| other.cmp(one));
        let records = self.mark.recorded + self.records.len() as u64;
        self.older = Some(Older { pending, accounts, last: self.last, records });
        (self.has_newer, self.newer_since, self.newer_bytes) = (false, None, 0);
    }

    /// Records into blocks: `missing` of them at least have to be there before entries are deleted.
    fn write_records(&mut self, connection: &Connection, missing: u64, piece: Piece) -> Result<()> {
        let most = self.records.len().min(piece.records);
        let least = most.min(usize::try_from(missing).unwrap_or(usize::MAX));
        let written = records::append(connection, &self.records.make_contiguous()[..most], least)?;
        let spare = written.min(SPARE_MAX.saturating_sub(self.spare.len()));
        self.spare.extend(self.records.drain(..written).take(spare));
        self.mark.recorded += written as u64;
        journal::set_mark(connection, self.mark)?;
        self.sums.look(connection)
    }

    /// Everything that is left of older entries, which are not needed from here on.
    fn finish(&mut self, connection: &Connection) -> Result<()> {
        let older = self.older.take().expect("the caller has seen it");
        older.pending.write_the_rest(connection)?;
        self.mark = Mark { folded: older.last, recorded: self.mark.recorded - older.records };
        journal::set_mark(connection, self.mark)
    }

    /// Makes pieces smaller than anybody would, to have many of them.
    #[cfg(test)]
    pub(super) fn cut_small(&mut self) {
        self.piece = Piece { records: 7, rows: 2, entries: 3 };
        self.sums.set_behind_max(9);
    }

    /// Whether a fold has begun, and whether the rows of sums have different records.
    #[cfg(test)]
    pub(super) fn middles(&self) -> [bool; 2] {
        [self.older.is_some(), self.sums.is_in_the_middle()]
    }
}
