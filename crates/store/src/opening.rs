//! A store that is about to be opened: locked and judged, and not started.
//!
//! Between the two stands whoever has to decide whether it is to be started at all: a command that was given the wrong
//! directory, or a start without its master key, must not fence an instance that is sound.

use crate::backend::{Backend, Instance};
use crate::clock::Clock;
use crate::error::OpenError;
use crate::fence::{Fence, Verdict, judge};
use crate::files::make_private_directory;
use crate::lock::DirectoryLock;
use crate::restore;
use crate::sqlite::SqliteBackend;
use crate::store::{Bounds, OpenOptions, Store};
use crate::witness::Witness;
use crate::writer::LOADED_MAX;

/// A data directory that is locked, in which nothing was written but what brings an older schema up to date, or ends a
/// restore. Dropped, it leaves everything as it is.
pub struct Opening {
    options: OpenOptions,
    lock: DirectoryLock,
    backend: SqliteBackend,
    instance: Option<Instance>,
    index_key: Option<Vec<u8>>,
    doubt: Option<Fence>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("doubt", &self.doubt).finish_non_exhaustive()
    }
}

impl Opening {
    /// Locks the data directory, which is made if it is absent (mode 0700), and compares the database with the witness.
    /// Blocks.
    ///
    /// # Errors
    /// Each says what to do.
    pub fn new(options: &OpenOptions) -> Result<Self, OpenError> {
        make_private_directory(&options.data_dir)?;
        let lock = DirectoryLock::acquire(&options.data_dir)?;
        restore::finish(&options.data_dir)?;
        let mut backend = SqliteBackend::open(&options.data_dir)?;
        let (instance, index_key) = (backend.instance()?, backend.index_key()?);
        let doubt = match judge(instance.as_ref(), &Witness::open(&options.witness).1) {
            Verdict::Fenced(fence) if instance.as_ref().is_none_or(|instance| instance.fence.is_none()) => {
                Some(fence)
            }
            Verdict::Fenced(_) | Verdict::New | Verdict::Sound => None,
        };
        Ok(Self { options: options.clone(), lock, backend, instance, index_key, doubt })
    }

    /// Why a start would refuse all keys from now on. A fence that is there already is no news.
    pub fn doubt(&self) -> Option<&Fence> {
        self.doubt.as_ref()
    }

    /// The index key as the database has it; `None` before the first start.
    pub fn index_key(&self) -> Option<&[u8]> {
        self.index_key.as_deref()
    }

    /// Random bytes made with the database; `None` before the first start.
    pub fn instance_id(&self) -> Option<[u8; 16]> {
        self.instance.as_ref().map(|instance| instance.id)
    }

    /// Goes on as [`Store::open`] says: what is doubted is fenced.
    ///
    /// # Errors
    /// Each says what to do.
    pub fn start(self) -> Result<Store, OpenError> {
        let Self { options, lock, backend, .. } = self;
        let bounds = Bounds {
            loaded_max: LOADED_MAX,
            usage_retention: options.usage_retention,
            audit_retention: options.audit_retention,
        };
        Store::start(Box::new(backend), &options.witness, &options.version, bounds, Clock::system(), lock)
    }
}
