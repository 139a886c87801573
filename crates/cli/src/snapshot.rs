//! For tests: texts that are kept in files and reviewed when they change.

use std::path::Path;

/// Set to anything, it writes the files anew instead of comparing.
const UPDATE: &str = "TILL_UPDATE";

/// Compares a text with a file, whose path is relative to this crate.
pub(crate) fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, text).expect("the file can be written");
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{file} is out of step: run `{UPDATE}=1 cargo test -p till-cli` and review the change.\n--- new:\n{text}"
    );
}
