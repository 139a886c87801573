//! What names of models turned out to be that no clause has in full: many clauses have to be looked at for each, regular
//! expressions among them, and the same few names come again and again.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// How many names are remembered; then it begins anew.
const NAMES_MAX: usize = 256;

/// The longest name that is remembered, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Names, and the place of the model that each is, if it is any.
#[derive(Debug, Default)]
pub(super) struct Seen(RwLock<HashMap<Box<str>, Option<usize>>>);

impl Seen {
    /// The place for a name, which is looked for if it was not seen before.
    pub(super) fn place(&self, name: &str, search: impl FnOnce() -> Option<usize>) -> Option<usize> {
        if let Some(place) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return *place;
        }
        let place = search();
        if name.len() <= NAME_BYTES_MAX {
            let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= NAMES_MAX {
                names.clear();
            }
            names.insert(name.into(), place);
        }
        place
    }
}

/// Where models may have other places.
impl Clone for Seen {
    fn clone(&self) -> Self {
        Self::default()
    }
}
