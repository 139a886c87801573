//! The prices that a server runs on: the built-in table, under the rows of the configuration file, under those of
//! `prices.toml` in the data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use till_providers::price::{PriceFile, PriceTable};

use crate::settings::Settings;

/// Name of the file in the data directory that `till prices update` writes.
const FILE_NAME: &str = "prices.toml";

/// Where `till prices update` puts prices.
pub(crate) fn installed_path(data: &Path) -> PathBuf {
    data.join(FILE_NAME)
}

/// The prices in effect.
///
/// # Errors
/// The file in the data directory can't be read.
pub(crate) fn table(settings: &Settings) -> anyhow::Result<PriceTable> {
    Ok(PriceTable::builtin().with_overrides(&added(settings)?))
}

/// What was added to the built-in table: the first row that fits a model counts.
pub(crate) fn added(settings: &Settings) -> anyhow::Result<PriceFile> {
    let mut added = settings.prices.clone();
    let installed = installed_path(&settings.data);
    if installed.exists() {
        added.prices.extend(read(&installed)?.prices);
    }
    Ok(added)
}

/// Reads a file of prices.
///
/// # Errors
/// Each names the file and the place in it.
pub(crate) fn read(path: &Path) -> anyhow::Result<PriceFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        anyhow!("{}:{line}: {}", path.display(), error.message())
    })
}
