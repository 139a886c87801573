//! How values of the domain stand in columns.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use till_core::key::KeyId;
use till_core::ledger::{AccountChain, AccountId};
use till_core::time::Timestamp;

/// A count of any size: an integer where it fits, otherwise 16 bytes, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount(pub(super) u128);

impl From<u64> for Amount {
    fn from(amount: u64) -> Self {
        Self(amount.into())
    }
}

impl ToSql for Amount {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match i64::try_from(self.0) {
            Ok(small) => Value::Integer(small),
            Err(_) => Value::Blob(self.0.to_be_bytes().to_vec()),
        }))
    }
}

impl FromSql for Amount {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(small) => {
                u128::try_from(small).map(Self).map_err(|_| FromSqlError::OutOfRange(small))
            }
            ValueRef::Blob(bytes) => {
                let bytes = bytes.try_into().map_err(|_| FromSqlError::InvalidType)?;
                Ok(Self(u128::from_be_bytes(bytes)))
            }
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl Amount {
    /// For what is never above 2⁶⁴−1 unless the file is damaged.
    pub(super) fn u64(self) -> Result<u64, rusqlite::Error> {
        u64::try_from(self.0).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
    }
}

/// A point in time, as milliseconds.
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.0.to_sql()
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::column_result(value).map(|millis| Self(Timestamp(millis)))
    }
}

/// Kind and bytes of an account id.
pub(super) fn account_parts(id: &AccountId) -> (&'static str, &[u8; 16]) {
    match id {
        AccountId::Key(KeyId(bytes)) => ("key", bytes),
        AccountId::Ceiling(bytes) => ("project", bytes),
    }
}

/// Bytes that one account takes in a chain.
const CHAIN_STEP: usize = 17;

/// The accounts of a hold, the key first.
pub(super) fn chain_bytes(chain: &AccountChain, to: &mut Vec<u8>) {
    to.clear();
    for account in chain.iter() {
        to.push(u8::from(matches!(account, AccountId::Ceiling(_))));
        to.extend_from_slice(account_parts(&account).1);
    }
}

/// The chain that these bytes mean, if any.
pub(super) fn chain_from_bytes(bytes: &[u8]) -> Option<AccountChain> {
    let mut accounts = Vec::with_capacity(bytes.len() / CHAIN_STEP);
    for step in bytes.chunks(CHAIN_STEP) {
        let (kind, id) = step.split_first()?;
        let id: [u8; 16] = id.try_into().ok()?;
        accounts.push(match kind {
            0 => AccountId::Key(KeyId(id)),
            1 => AccountId::Ceiling(id),
            _ => return None,
        });
    }
    let (key, ancestors) = accounts.split_first()?;
    Some(AccountChain::new(*key, ancestors))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use till_core::key::KeyId;
    use till_core::ledger::{AccountChain, AccountId};

    use super::{Amount, chain_bytes, chain_from_bytes};

    #[test]
    fn amounts_of_every_size_round_trip() {
        let connection = Connection::open_in_memory().unwrap();
        for amount in
            [0, 1, u128::try_from(i64::MAX).unwrap(), 1 << 63, u128::from(u64::MAX), 1 << 64, u128::MAX]
        {
            let back: Amount = connection.query_row("SELECT ?1", [Amount(amount)], |row| row.get(0)).unwrap();
            assert_eq!(back, Amount(amount));
        }
        for damaged in ["SELECT -1", "SELECT x'00'", "SELECT 'x'", "SELECT 1.5", "SELECT NULL"] {
            assert!(connection.query_row(damaged, [], |row| row.get::<_, Amount>(0)).is_err(), "{damaged}");
        }
    }

    #[test]
    fn chains_round_trip() {
        let key = |n| AccountId::Key(KeyId([n; 16]));
        let mut bytes = Vec::new();
        for chain in
            [AccountChain::of_key(key(1)), AccountChain::new(key(1), &[key(2), AccountId::Ceiling([3; 16])])]
        {
            chain_bytes(&chain, &mut bytes);
            assert_eq!(chain_from_bytes(&bytes), Some(chain));
        }
        for damaged in [vec![], vec![0; 16], vec![0; 18], vec![2; 17]] {
            assert_eq!(chain_from_bytes(&damaged), None, "{damaged:?}");
        }
    }
}
