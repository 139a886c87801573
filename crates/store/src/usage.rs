//! What was used, for those who administer: records, sums, and holds that a crash left open.

use till_core::audit::Actor;
use till_core::ledger::HoldId;

use crate::backend::Reader;
use crate::command::Action;
use crate::error::StoreError;
use crate::escrow::About;
use crate::readers::Lane;
use crate::store::Store;
use crate::usage_record::{OrphanHold, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageSum};

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
