//! What is in this program: packages, their licences and texts, as `scripts/licenses.py` wrote them down.

use std::io::Read as _;

use anyhow::Context;
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

/// JSON, compressed: most of it are texts that are much alike.
static FILE: &[u8] = include_bytes!("../data/licenses.json.gz");

/// See the module documentation.
#[derive(Deserialize)]
pub(crate) struct Inventory {
    /// Numbers of the texts of till's own licences.
    pub(crate) own: Vec<usize>,
    /// What till itself uses: `cargo:tokio@1.2.3`.
    pub(crate) needs: Vec<String>,
    /// All that is in it, whoever uses it, by name.
    pub(crate) packages: Vec<Package>,
    /// Each text once.
    pub(crate) texts: Vec<String>,
}

/// A package in the program.
#[derive(Deserialize, Serialize)]
pub(crate) struct Package {
    /// As a package URL says it: `cargo`, `npm`, `generic`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) license: String,
    pub(crate) url: String,
    /// Of the package as its registry has it.
    pub(crate) sha256: Option<String>,
    /// What it uses, as in [`Inventory::needs`].
    pub(crate) needs: Vec<String>,
    /// Numbers of its texts.
    pub(crate) texts: Vec<usize>,
}

impl Inventory {
    /// Unpacks it.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let mut text = String::new();
        GzDecoder::new(FILE).read_to_string(&mut text).context("the list of licences can't be unpacked")?;
        serde_json::from_str(&text).context("the list of licences can't be read")
    }
}

impl Package {
    /// How others name it.
    pub(crate) fn reference(&self) -> String {
        format!("{}:{}@{}", self.kind, self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Inventory;

    #[test]
    fn it_is_of_the_packages_that_are_compiled_in() {
        let inventory = Inventory::read().expect("it can be read");
        let lock: toml::Table = include_str!("../../../Cargo.lock").parse().expect("TOML");
        let locked: BTreeSet<String> = lock["package"]
            .as_array()
            .expect("packages")
            .iter()
            .map(|package| format!("{}@{}", package["name"], package["version"]).replace('"', ""))
            .collect();
        let references: BTreeSet<String> =
            inventory.packages.iter().map(|package| package.reference()).collect();
        for package in &inventory.packages {
            let name = format!("{}@{}", package.name, package.version);
            let hint = "run scripts/licenses.py and commit what it writes";
            assert!(package.kind != "cargo" || locked.contains(&name), "{name} is not in Cargo.lock: {hint}");
            assert!(!package.texts.is_empty(), "{name} has no licence text");
            assert!(package.texts.iter().all(|text| !inventory.texts[*text].trim().is_empty()), "{name}");
            assert!(package.needs.iter().all(|needed| references.contains(needed)), "{name}");
        }
        assert!(inventory.needs.iter().all(|needed| references.contains(needed)));
        for part in ["cargo:tokio@", "cargo:rustls@", "generic:sqlite@", "npm:preact@", "npm:uplot@"] {
            assert!(references.iter().any(|reference| reference.starts_with(part)), "{part} is missing");
        }
    }
}
