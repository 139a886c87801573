//! What administrators keep besides keys: projects, members, admin tokens, upstream credentials, sessions.
//!
//! Each is a JSON object with an id, a version and a time. They are few and rarely changed, so they share one table, one
//! way of being written and one of being listed. Invariants:
//! - a change names the version that it was made from, and is refused if that is not the newest any more;
//! - one that has ended stays, so that its id is never used again, and is never changed again;
//! - the keys that end with it are revoked after its end is on disk, in pieces, and before anybody is told of it; whoever
//!   starts after a crash goes on with that ([`Store::endings_finish`]);
//! - secrets are in it only as hashes, or sealed by the master key.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::policy::{Ceilings, Policy, PolicyOwner, Window};
use till_core::role::Role;
use till_core::scope::Network;
use till_core::time::Timestamp;

use crate::backend::Reader;
use crate::command::Action;
use crate::error::StoreError;
use crate::escrow::About;
use crate::readers::Lane;
use crate::store::{KEYS_AT_ONCE, Store};

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    /// A [`Project`].
    Project,
    /// A [`Member`].
    Member,
    /// An [`AdminToken`].
    Token,
    /// A [`Credential`].
    Credential,
    /// A [`Session`].
    Session,
}

impl EntityKind {
    /// The word in the database and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Member => "member",
            Self::Token => "token",
            Self::Credential => "credential",
            Self::Session => "session",
        }
    }
}

impl EntityKind {
    /// As what it has a say about keys, if it has one.
    pub(crate) fn owner(self) -> Option<PolicyOwner> {
        match self {
            Self::Project => Some(PolicyOwner::Project),
            Self::Member | Self::Token => Some(PolicyOwner::Maker),
            Self::Credential => Some(PolicyOwner::Credential),
            Self::Session => None,
        }
    }

    /// Whose keys end with it, if any do. Those of a maker go on.
    pub(crate) fn ends_keys_as(self) -> Option<PolicyOwner> {
        self.owner().filter(|owner| *owner != PolicyOwner::Maker)
    }
}

/// Something that is kept.
pub trait Entity: Serialize + DeserializeOwned + Send + 'static {
    /// Its kind.
    const KIND: EntityKind;

    /// The project that it belongs to; `None` is the whole instance.
    fn project(&self) -> Option<&str>;
}

/// A tenant: keys, members and what they spend belong to one. Its id is chosen by whoever makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Project {
    /// A name for people.
    pub name: String,
    /// What may be minted in it, and what its keys may use together.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
}

impl Entity for Project {
    const KIND: EntityKind = EntityKind::Project;

    fn project(&self) -> Option<&str> {
        None
    }
}

/// Somebody who administers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// What they sign in with, in lower case; its hash finds them.
    pub login: String,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Where; `None` is everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What they may mint, and what their keys may use together.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    /// Argon2id hash in the PHC string format; without one nobody can sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl Entity for Member {
    const KIND: EntityKind = EntityKind::Member;

    fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// An admin token. Its text is not kept; the SHA-256 of it finds the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminToken {
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where; `None` is everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Id of the member that it stands for, whose rules then count, and who may do no less than it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// What may be minted with it, and what those keys may use together.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    /// Where it may be used from; `None` is everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
    /// It does not work any more from then on, in milliseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Of the first owner's token: SHA-256 of the text that was preset last, in hexadecimal. It is not put back at the next
    /// start when the token was given another one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
}

impl AdminToken {
    /// One that works everywhere and always, and stands for itself.
    pub fn unbound(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            project: None,
            member: None,
            policy: Policy::default(),
            networks: None,
            expires_at: None,
            preset: None,
        }
    }
}

impl Entity for AdminToken {
    const KIND: EntityKind = EntityKind::Token;

    fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// An upstream key that keys are minted from by name. Its id is its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credential {
    /// Id of the provider that it is for.
    pub provider: String,
    /// Base64 of what the master key has sealed.
    pub sealed: String,
    /// The project that it belongs to; `None` is the whole instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Projects that may mint from one of the whole instance; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
    /// What may be minted from it, and what those keys may use together.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
}

impl Entity for Credential {
    const KIND: EntityKind = EntityKind::Credential;

    fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// Somebody who is signed in. The SHA-256 of what the browser holds finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// Id of the member or of the admin token.
    pub subject: String,
    /// SHA-256, in hexadecimal, of the password hash at that time, or of the text of the admin token: it is over when that
    /// is not the password any more, or finds no token.
    #[serde(default)]
    pub stamp: String,
    /// SHA-256 of the word that changes have to carry, in hexadecimal.
    pub csrf: String,
    /// It is over from then on, in milliseconds since 1970-01-01 UTC.
    pub expires_at: u64,
}

impl Entity for Session {
    const KIND: EntityKind = EntityKind::Session;

    fn project(&self) -> Option<&str> {
        None
    }
}

/// Something that is kept, with what the store knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// Its id, unlike those of all others of its kind.
    pub id: String,
    /// 1 when it is made, one more with every change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was ended, if it was.
    pub ended_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub used_at: Option<Timestamp>,
    /// What it is.
    pub is: T,
}

/// Another way to find something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// SHA-256 of what finds it.
    pub hash: [u8; 32],
    /// It finds nothing any more from then on.
    pub until: Option<Timestamp>,
}

/// What is to become of something.
#[derive(Clone, Debug)]
pub struct Put<T> {
    /// Its id.
    pub id: String,
    /// The version that the change was made from; `None` makes it.
    pub version: Option<u64>,
    /// What it is from now on.
    pub is: T,
    /// The other ways to find it from now on; `None` leaves them.
    pub lookups: Option<Vec<Lookup>>,
    /// Whether this ends it.
    pub ends: bool,
}

/// Which to list, newest first. The default is all that have not ended.
#[derive(Clone, Debug, Default)]
pub struct EntityQuery {
    /// Only those that come after this one in the list.
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only those of this project, none of the whole instance.
    pub project: Option<String>,
    /// Those that have ended as well.
    pub with_ended: bool,
}

/// Something as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntityRow {
    pub(crate) kind: EntityKind,
    pub(crate) id: String,
    pub(crate) project: Option<String>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) body: String,
}

/// A row to be written, and the other ways to find it, if they change.
#[derive(Clone, Debug)]
pub(crate) struct EntityWrite {
    pub(crate) row: EntityRow,
    pub(crate) lookups: Option<Vec<Lookup>>,
}

impl EntityRow {
    /// What it is.
    pub(crate) fn kept<T: Entity>(self) -> Result<Kept<T>, StoreError> {
        let is = serde_json::from_str(&self.body).map_err(|error| StoreError::Invalid {
            reason: format!("the {} {} can't be read: {error}", self.kind.as_str(), self.id),
        })?;
        Ok(Kept {
            id: self.id,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            ended_at: self.ended_at,
            used_at: self.used_at,
            is,
        })
    }

    /// The rules in it, if its kind has any.
    pub(crate) fn policy(&self) -> Result<Policy, StoreError> {
        policy_in(self.kind, &self.id, &self.body)
    }
}

fn policy_in(kind: EntityKind, id: &str, body: &str) -> Result<Policy, StoreError> {
    #[derive(Deserialize)]
    struct Ruled {
        #[serde(default)]
        policy: Policy,
    }
    serde_json::from_str::<Ruled>(body).map(|ruled| ruled.policy).map_err(|error| StoreError::Invalid {
        reason: format!("the {} {id} can't be read: {error}", kind.as_str()),
    })
}

/// Says of lost records why a ceiling can't be set.
pub(crate) fn not_known(error: StoreError, window: Window) -> StoreError {
    let StoreError::Damaged { reason } = error else { return error };
    StoreError::Damaged {
        reason: format!(
            "a ceiling per {window} can't be set, because what was used in this {window} is not known: {reason}; set it when \
             the next {window} has begun, or set one per lifetime, which counts without these records",
            window = window.as_str()
        ),
    }
}

/// A change as the writer gets it.
#[derive(Debug)]
pub(crate) struct EntityChange {
    pub(crate) kind: EntityKind,
    pub(crate) id: String,
    pub(crate) version: Option<u64>,
    pub(crate) project: Option<String>,
    pub(crate) body: String,
    pub(crate) lookups: Option<Vec<Lookup>>,
    pub(crate) ends: bool,
    pub(crate) action: String,
    pub(crate) detail: String,
    /// What was added up before, for ceilings that are new.
    pub(crate) charged: Vec<Charged>,
    /// The same for one of the lifetime.
    pub(crate) used: Option<UsedEver>,
}

/// What an owner's keys had used, without what was held, as it was read beside the writer. A key that was used since is in
/// memory, unless some key was put out of it since.
#[derive(Debug)]
pub(crate) struct UsedEver {
    /// How often keys had been put out of memory.
    pub(crate) evictions: u64,
    pub(crate) keys: Vec<(KeyId, Units)>,
}

/// What calls of an owner's keys were charged with, as far as it was added up beside the writer, which goes on from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged {
    /// Within these days: the first, and the first after them.
    pub(crate) days: (u64, u64),
    pub(crate) units: Units,
    /// Number of the last record that is in it.
    pub(crate) last: u64,
}

impl Store {
    /// Makes, changes or ends something, with an audit entry `action` and `detail` about it, which must have no secrets.
    ///
    /// Rules in it take effect on the next request. Ending a project or a credential revokes its keys, before this answers.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: the id, or another way to find it, is taken. [`StoreError::Changed`]: the version is not
    /// the newest. [`StoreError::Missing`]: it does not exist or has ended. Or the store can't be written: then it may have
    /// ended, with some of its keys; [`Store::endings_finish`] does the rest.
    pub async fn entity_put<T: Entity>(
        &self,
        put: Put<T>,
        action: &str,
        detail: serde_json::Value,
        actor: &Actor,
    ) -> Result<Kept<T>, StoreError> {
        let id = put.id.clone();
        let ends_keys = T::KIND.ends_keys_as().filter(|_| put.ends);
        let mut change = EntityChange {
            kind: T::KIND,
            id: put.id,
            version: put.version,
            project: put.is.project().map(str::to_owned),
            body: serde_json::to_string(&put.is)
                .map_err(|error| StoreError::Invalid { reason: error.to_string() })?,
            lookups: put.lookups,
            ends: put.ends,
            action: action.to_owned(),
            detail: detail.to_string(),
            charged: Vec::new(),
            used: None,
        };
        self.add_up(&mut change).await?;
        self.administer(Action::EntityPut(Box::new(change)), actor).await?;
        if let Some(owner) = ends_keys {
            self.keys_end(owner, &id, actor).await?;
        }
        self.entity_fetch(&id).await?.ok_or(StoreError::Missing)
    }

    /// Adds up what ceilings that are new have to count: that may take long, and every call would wait for the writer
    /// meanwhile.
    async fn add_up(&self, change: &mut EntityChange) -> Result<(), StoreError> {
        let is_change = change.version.is_some() && !change.ends;
        let Some(owner) = change.kind.owner().filter(|_| is_change) else { return Ok(()) };
        let (kind, id, now) = (change.kind, change.id.clone(), self.now());
        let after = policy_in(kind, &id, &change.body)?.ceilings;
        if after == Ceilings::default() {
            return Ok(());
        }
        let row = self.read(Lane::LookUp, move |reader| reader.entity_fetch(kind, &id)).await?;
        let before = row.map_or_else(|| Ok(Policy::default()), |row| row.policy())?.ceilings;
        for (window, _) in after.set().filter(|(window, _)| before.of(*window) == Limits::default()) {
            let id = change.id.clone();
            if let Some(days) = window.days(now) {
                let read = move |reader: &mut dyn Reader| reader.charged(owner, &id, days);
                let charged = self.read(Lane::List, read).await;
                change.charged.push(charged.map_err(|error| not_known(error, window))?);
            } else {
                let evictions = self.exact(About::Ended).await.evictions;
                let keys = self.read(Lane::List, move |reader| reader.used_ever(owner, &id)).await?;
                change.used = Some(UsedEver { evictions, keys });
            }
        }
        Ok(())
    }

    /// Revokes what is left of keys whose project or credential has ended. There are such only if that was cut short.
    ///
    /// # Errors
    /// The store can't be read or written. Called again it does the rest.
    pub async fn endings_finish(&self) -> Result<(), StoreError> {
        for (owner, id) in self.read(Lane::LookUp, |reader| reader.endings()).await? {
            self.keys_end(owner, &id, &Actor::system()).await?;
        }
        Ok(())
    }

    async fn keys_end(&self, owner: PolicyOwner, id: &str, actor: &Actor) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let of = id.to_owned();
            let read = move |reader: &mut dyn Reader| reader.keys_left(owner, &of, last, KEYS_AT_ONCE);
            let keys = self.read(Lane::LookUp, read).await?;
            if keys.is_empty() {
                return self.administer(Action::EndingDone(owner, id.to_owned()), actor).await.map(drop);
            }
            last = keys.last().copied();
            self.keys_revoke(keys, actor).await?;
        }
    }

    /// Something by its id, also if it has ended.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn entity_fetch<T: Entity>(&self, id: &str) -> Result<Option<Kept<T>>, StoreError> {
        let id = id.to_owned();
        let row = self.read(Lane::LookUp, move |reader| reader.entity_fetch(T::KIND, &id)).await?;
        row.map(EntityRow::kept).transpose()
    }

    /// Something that has not ended, by another way to find it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn entity_find<T: Entity>(&self, hash: [u8; 32]) -> Result<Option<Kept<T>>, StoreError> {
        let now = self.now();
        let row = self.read(Lane::LookUp, move |reader| reader.entity_find(T::KIND, hash, now)).await?;
        row.map(EntityRow::kept).transpose()
    }

    /// The other ways to find something, those that end last.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn entity_lookups(&self, kind: EntityKind, id: &str) -> Result<Vec<Lookup>, StoreError> {
        let id = id.to_owned();
        self.read(Lane::LookUp, move |reader| reader.entity_lookups(kind, &id)).await
    }

    /// All of a kind, newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn entity_list<T: Entity>(&self, query: EntityQuery) -> Result<Vec<Kept<T>>, StoreError> {
        let rows = self.read(Lane::List, move |reader| reader.entity_list(T::KIND, &query)).await?;
        rows.into_iter().map(EntityRow::kept).collect()
    }

    /// What the keys of an owner have used in the current windows of those ceilings that it has: spent, held, escrowed and
    /// burnt together.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn ceilings_used(
        &self,
        owner: PolicyOwner,
        id: &str,
        policy: &Policy,
    ) -> Result<Vec<(Window, Units)>, StoreError> {
        let now = self.now();
        let windows: Vec<Window> = policy.ceilings.set().map(|(window, _)| window).collect();
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let id = id.to_owned();
        let exact = self.exact(About::All).await;
        self.read(Lane::LookUp, move |reader| {
            let used = |window: Window| {
                let account = window.account(owner, &id, now);
                let used = match exact.of(account) {
                    Some(used) => used,
                    None => reader.account(account)?.map_or(Units::default(), |account| account.used()),
                };
                Ok((window, used))
            };
            windows.into_iter().map(used).collect()
        })
        .await
    }

    /// Notes that something was used. Written with the next batch, without an audit entry; nobody waits for it.
    pub fn entity_used(&self, kind: EntityKind, id: &str) {
        self.note_use(kind, id.to_owned());
    }
}
