//! What was used, for those who administer: records, sums, and holds that a crash left open.

use std::sync::Arc;

use till_core::audit::Actor;
use till_core::key::KeyStatus;
use till_core::ledger::HoldId;
use till_core::time::Timestamp;

use crate::backend::Reader;
use crate::command::Action;
use crate::error::StoreError;
use crate::escrow::About;
use crate::key::{KeyCounts, KeyQuery, KeyRecord, KeySort};
use crate::readers::Lane;
use crate::store::Store;
use crate::usage_record::{
    DenialQuery, DenialSum, OrphanHold, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageRecord, UsageSum,
};

/// What to look at for somebody who wants to see how things are.
#[derive(Clone, Debug)]
pub struct GlanceQuery {
    /// Which calls are listed.
    pub filter: UsageFilter,
    /// Sums and keys of this project, or of all.
    pub project: Option<String>,
    /// The first day that counts, and the one after the last.
    pub days: (u64, u64),
    /// From when on keys are told apart.
    pub keys_since: Timestamp,
    /// So many of the last calls.
    pub calls: u32,
    /// So many of the keys that were used last.
    pub keys_used: u32,
    /// So many of the keys that end first.
    pub keys_ending: u32,
}

/// How things are, all of one moment.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Sums per day.
    pub days: Vec<UsageSum>,
    /// Sums per key, of the keys that were used last.
    pub keys: Vec<UsageSum>,
    /// Denials of these days, of all keys together.
    pub denials: Vec<DenialSum>,
    /// The last calls.
    pub calls: Vec<(u64, UsageRecord)>,
    /// The live keys that were used last.
    pub keys_used: Vec<KeyRecord>,
    /// The live keys that end first.
    pub keys_ending: Vec<KeyRecord>,
    /// Keys by state.
    pub counts: KeyCounts,
}

impl Store {
    /// How things are. One read for all of it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn glance(&self, query: GlanceQuery) -> Result<Glance, StoreError> {
        let now = self.now();
        let exact = self.exact(About::All).await;
        self.read(Lane::List, move |reader| {
            let GlanceQuery { filter, project, days, keys_since, calls, keys_used, keys_ending } = query;
            let since = |since| UsageFilter {
                since: Some(since),
                project: project.clone(),
                ..UsageFilter::default()
            };
            let by_day = UsageGroup { day: true, ..UsageGroup::default() };
            let by_key = UsageGroup { key: true, ..UsageGroup::default() };
            let live =
                KeyQuery { status: Some(KeyStatus::Active), project: project.clone(), ..KeyQuery::default() };
            let used = KeyQuery { sort: KeySort::LastUsed, limit: Some(keys_used), ..live.clone() };
            let ending =
                KeyQuery { sort: KeySort::Expires, ascending: true, limit: Some(keys_ending), ..live };
            let last = UsageQuery { before: None, limit: calls, filter, outcome: None };
            let listed = |reader: &mut dyn Reader, query: &KeyQuery| {
                let mut keys = reader.key_list(query, now)?;
                exact.show(&mut keys);
                Ok::<_, StoreError>(keys)
            };
            let keys_used = listed(reader, &used)?;
            let keys = Some(Arc::new(keys_used.iter().map(|key| key.id).collect()));
            let of_used = UsageFilter { keys, since: Some(keys_since), ..UsageFilter::default() };
            let denials = DenialQuery { days, key: None, project: project.clone(), by_key: false };
            Ok(Glance {
                days: reader.usage_sum(by_day, &since(Timestamp::of_day(days.0)))?,
                keys: reader.usage_sum(by_key, &of_used)?,
                denials: reader.denial_sums(&denials)?,
                calls: reader.usage_list(&last)?.records,
                keys_used,
                keys_ending: listed(reader, &ending)?,
                counts: reader.key_counts(project.as_deref(), now)?,
            })
        })
        .await
    }

    /// Records of calls with their numbers, newest first. A page ends after so many blocks of records were looked through,
    /// however few of them it asks for.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn usage_list(&self, query: UsageQuery) -> Result<UsagePage, StoreError> {
        self.exact(About::Ended).await;
        self.read(Lane::List, move |reader| reader.usage_list(&query)).await
    }

    /// Sums over calls, also over those whose records are deleted, newest day first and dearest first within it.
    /// `since` and `until` of the filter count whole days, UTC.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn usage_sum(
        &self,
        group: UsageGroup,
        filter: UsageFilter,
    ) -> Result<Vec<UsageSum>, StoreError> {
        self.exact(About::Ended).await;
        self.read(Lane::List, move |reader| reader.usage_sum(group, &filter)).await
    }

    /// The dearest so many sums over calls, over all days, and the others as one per day: `most` are told apart besides days.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn usage_top(
        &self,
        most: usize,
        group: UsageGroup,
        filter: UsageFilter,
    ) -> Result<Vec<UsageSum>, StoreError> {
        self.exact(About::Ended).await;
        self.read(Lane::List, move |reader| reader.usage_top(most, group, &filter)).await
    }

    /// How often calls were denied, per day and reason.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn denial_sums(&self, query: DenialQuery) -> Result<Vec<DenialSum>, StoreError> {
        self.exact(About::All).await;
        self.read(Lane::List, move |reader| reader.denial_sums(&query)).await
    }

    /// How many keys are in each state, of a project or of all.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn key_counts(&self, project: Option<String>) -> Result<KeyCounts, StoreError> {
        let now = self.now();
        self.exact(About::All).await;
        self.read(Lane::List, move |reader| reader.key_counts(project.as_deref(), now)).await
    }

    /// Holds that a crash left open and nobody has forgiven, newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn orphan_list(
        &self,
        before: Option<HoldId>,
        limit: u32,
    ) -> Result<Vec<OrphanHold>, StoreError> {
        self.read(Lane::List, move |reader: &mut dyn Reader| reader.orphan_list(before, limit)).await
    }

    /// Gives back what such a hold was charged with; `false` when there is none of that name (any more).
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn orphan_forgive(&self, id: HoldId, actor: &Actor) -> Result<bool, StoreError> {
        self.administer(Action::HoldForgive(id), actor).await
    }
}
