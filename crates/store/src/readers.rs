//! Who reads for the admin side: a connection for look-ups, and one for lists.
//!
//! Who signs in, looks at one thing or takes a claim must not wait until somebody's list or sum is read. Invariants:
//! - what goes through [`Lane::LookUp`] reads a few rows by an index, and nothing else does;
//! - each connection serves one read at a time, in the order of asking;
//! - who waits for a turn has no thread meanwhile: the threads that may block are also those that look up names of hosts.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::backend::Reader;
use crate::error::StoreError;

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A few rows, by an index.
    LookUp,
    /// Whatever may take long.
    List,
}

pub(crate) struct Readers {
    look_up: Turns,
    list: Turns,
}

/// One connection, and whose turn it is.
struct Turns {
    turn: Arc<Semaphore>,
    /// `None` once the store is closed.
    reader: Arc<Mutex<Option<Box<dyn Reader>>>>,
}

impl Turns {
    fn new(reader: Box<dyn Reader>) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), reader: Arc::new(Mutex::new(Some(reader))) }
    }

    /// Waits for the read that is under way, and refuses all others.
    fn close(&self) {
        self.turn.close();
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Readers {
    pub(crate) fn new(look_up: Box<dyn Reader>, list: Box<dyn Reader>) -> Self {
        Self { look_up: Turns::new(look_up), list: Turns::new(list) }
    }

    /// Reads on a thread where waiting for the disk hurts nobody.
    ///
    /// # Cancel safety
    /// A read that has begun goes on, and has its turn until it ends.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        lane: Lane,
        read: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Turns { turn, reader } = match lane {
            Lane::LookUp => &self.look_up,
            Lane::List => &self.list,
        };
        let turn = Arc::clone(turn).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let reader = Arc::clone(reader);
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut slot = reader.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_mut().map_or(Err(StoreError::Closed), |reader| read(reader.as_mut()))
        });
        task.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Closes the connections. Blocks while a read is under way.
    pub(crate) fn close(&self) {
        self.look_up.close();
        self.list.close();
    }
}
