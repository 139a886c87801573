//! What was used, for those who administer: records, sums, and holds that a crash left open.

use std::collections::HashMap;

use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::ledger::HoldId;

use crate::backend::Reader;
use crate::command::Action;
use crate::error::StoreError;
use crate::escrow::About;
use crate::key::KeyCounts;
use crate::readers::Lane;
use crate::store::Store;
use crate::usage_record::{
    DenialSum, OrphanHold, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageSum,
};

impl Store {
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

    /// How often calls were denied, per day, key and reason, from the first day to before the second.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn denial_sums(
        &self,
        days: (u64, u64),
        key: Option<KeyId>,
    ) -> Result<Vec<DenialSum>, StoreError> {
        self.read(Lane::List, move |reader| reader.denial_sums(days, key)).await
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

    /// The project of each key.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn key_projects(&self) -> Result<HashMap<KeyId, String>, StoreError> {
        Ok(self.read(Lane::List, |reader| reader.key_projects()).await?.into_iter().collect())
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
