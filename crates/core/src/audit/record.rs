//! What stands in an exported log, one thing per line: where it is from, public keys, entries,
//! checkpoints.
//!
//! Invariant: a record has one set of fields with one spelling each. What is missing, too much or spelled
//! otherwise is an error, so nothing in a file goes unverified.

use serde::{Deserialize, Serialize};

use super::{Actor, ActorKind, AuditEntry, AuditKeyId, AuditPublicKey, Checkpoint};
use crate::hex::{from_hex, to_hex};
use crate::time::Timestamp;

/// Version of the format.
const VERSION: u64 = 1;

/// One thing in an exported log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRecord {
    /// The first: which instance the log is of.
    Log {
        /// The instance.
        instance_id: [u8; 16],
    },
    /// A key that signed checkpoints.
    Key(AuditPublicKey),
    /// An entry.
    Entry(AuditEntry),
    /// A checkpoint, behind the entry that it is about; one before the first entry is the anchor.
    Checkpoint(Checkpoint),
}

/// Why something is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No `type` that this version knows.
    #[error("it has no known `type`")]
    Type,
    /// A field that this type must have.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field that this type has not.
    #[error("the field `{0}` does not belong here")]
    Surplus(&'static str),
    /// A value that is not spelled as till spells it.
    #[error("the field `{0}` does not have a value as till writes it")]
    Spelling(&'static str),
    /// A later format.
    #[error("the log has format version {0}, this till knows version 1")]
    Version(u64),
    /// Not even fields.
    #[error("{0}")]
    Syntax(String),
}

macro_rules! fields {
    ($(($field:ident, $name:literal, $type:ty)),* $(,)?) => {
        /// Every field that some record has, in the order of the columns.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Fields {
            $(
                #[serde(rename = $name, default, skip_serializing_if = "Option::is_none")]
                pub(super) $field: Option<$type>,
            )*
        }

        impl Fields {
            /// Names of the columns.
            pub(super) const NAMES: &[&str] = &[$($name),*];

            /// The values as texts, in the order of the columns.
            pub(super) fn texts(&self) -> Vec<Option<String>> {
                vec![$(self.$field.as_ref().map(ToString::to_string)),*]
            }

            /// The name of a field that is still there.
            fn first(&self) -> Option<&'static str> {
                $(if self.$field.is_some() { return Some($name); })*
                None
            }

            /// Sets a field from its text.
            pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), RecordError> {
                match name {
                    $($name => {
                        let value: $type = text.parse().map_err(|_| RecordError::Spelling($name))?;
                        // One spelling for each number.
                        let again = value.to_string();
                        if again != text {
                            return Err(RecordError::Spelling($name));
                        }
                        self.$field = Some(value);
                        Ok(())
                    })*
                    _ => Err(RecordError::Syntax("there are more columns than names".into())),
                }
            }
        }
    };
}

fields! {
    (kind, "type", String),
    (version, "version", u64),
    (seq, "seq", u64),
    (at, "at", String),
    (actor_kind, "actorKind", String),
    (actor_id, "actorId", String),
    (actor_address, "actorAddress", String),
    (actor_request_id, "actorRequestId", String),
    (action, "action", String),
    (target, "target", String),
    (detail, "detail", String),
    (prev_hash, "prevHash", String),
    (hash, "hash", String),
    (instance_id, "instanceId", String),
    (key_id, "keyId", String),
    (public_key, "publicKey", String),
    (signature, "signature", String),
}

/// Takes a field that must be there.
fn take<T>(field: &mut Option<T>, name: &'static str) -> Result<T, RecordError> {
    field.take().ok_or(RecordError::Missing(name))
}

/// Takes bytes in hexadecimal.
fn take_hex<const N: usize>(field: &mut Option<String>, name: &'static str) -> Result<[u8; N], RecordError> {
    from_hex(&take(field, name)?).ok_or(RecordError::Spelling(name))
}

impl LogRecord {
    pub(super) fn to_fields(&self) -> Fields {
        let base = |kind: &str| Fields { kind: Some(kind.to_owned()), ..Fields::default() };
        match self {
            Self::Log { instance_id } => {
                Fields { version: Some(VERSION), instance_id: Some(to_hex(instance_id)), ..base("log") }
            }
            Self::Key(key) => Fields {
                key_id: Some(key.id().to_string()),
                public_key: Some(key.to_string()),
                ..base("key")
            },
            Self::Entry(entry) => Fields {
                seq: Some(entry.seq),
                at: Some(entry.at.to_millis_text()),
                actor_kind: Some(entry.actor.kind.as_str().to_owned()),
                actor_id: Some(entry.actor.id.clone()),
                actor_address: entry.actor.address.clone(),
                actor_request_id: entry.actor.request_id.clone(),
                action: Some(entry.action.clone()),
                target: Some(entry.target.clone()),
                detail: Some(entry.detail.clone()),
                prev_hash: Some(to_hex(&entry.prev_hash)),
                hash: Some(to_hex(&entry.hash)),
                ..base("entry")
            },
            Self::Checkpoint(checkpoint) => Fields {
                seq: Some(checkpoint.seq),
                at: Some(checkpoint.at.to_millis_text()),
                hash: Some(to_hex(&checkpoint.hash)),
                instance_id: Some(to_hex(&checkpoint.instance_id)),
                key_id: Some(checkpoint.key_id.to_string()),
                signature: Some(to_hex(&checkpoint.signature)),
                ..base("checkpoint")
            },
        }
    }

    pub(super) fn from_fields(mut fields: Fields) -> Result<Self, RecordError> {
        let record = match fields.kind.take().as_deref() {
            Some("log") => {
                let version = take(&mut fields.version, "version")?;
                if version != VERSION {
                    return Err(RecordError::Version(version));
                }
                Self::Log { instance_id: take_hex(&mut fields.instance_id, "instanceId")? }
            }
            Some("key") => {
                let key = AuditPublicKey(take_hex(&mut fields.public_key, "publicKey")?);
                if AuditKeyId(take_hex(&mut fields.key_id, "keyId")?) != key.id() {
                    return Err(RecordError::Spelling("keyId"));
                }
                Self::Key(key)
            }
            Some("entry") => Self::Entry(AuditEntry {
                seq: take(&mut fields.seq, "seq")?,
                at: time(&mut fields)?,
                actor: Actor {
                    kind: ActorKind::parse(&take(&mut fields.actor_kind, "actorKind")?)
                        .ok_or(RecordError::Spelling("actorKind"))?,
                    id: take(&mut fields.actor_id, "actorId")?,
                    address: fields.actor_address.take(),
                    request_id: fields.actor_request_id.take(),
                },
                action: take(&mut fields.action, "action")?,
                target: take(&mut fields.target, "target")?,
                detail: take(&mut fields.detail, "detail")?,
                prev_hash: take_hex(&mut fields.prev_hash, "prevHash")?,
                hash: take_hex(&mut fields.hash, "hash")?,
            }),
            Some("checkpoint") => Self::Checkpoint(Checkpoint {
                instance_id: take_hex(&mut fields.instance_id, "instanceId")?,
                seq: take(&mut fields.seq, "seq")?,
                hash: take_hex(&mut fields.hash, "hash")?,
                at: time(&mut fields)?,
                key_id: AuditKeyId(take_hex(&mut fields.key_id, "keyId")?),
                signature: take_hex(&mut fields.signature, "signature")?,
            }),
            _ => return Err(RecordError::Type),
        };
        fields.first().map_or(Ok(record), |name| Err(RecordError::Surplus(name)))
    }
}

fn time(fields: &mut Fields) -> Result<Timestamp, RecordError> {
    Timestamp::from_millis_text(&take(&mut fields.at, "at")?).ok_or(RecordError::Spelling("at"))
}
