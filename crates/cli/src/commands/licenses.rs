//! `till licenses`

use std::io::{self, Write};

use serde_json::json;

use crate::args::{Form, Output};
use crate::inventory::Inventory;
use crate::output;

pub(crate) fn run(output: Output) -> anyhow::Result<()> {
    let inventory = Inventory::read()?;
    match output.form {
        Form::Json => output::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "license": env!("CARGO_PKG_LICENSE"),
            "packages": inventory.packages,
            "texts": inventory.texts,
        }))?,
        Form::Table => io::stdout().lock().write_all(text(&inventory).as_bytes())?,
    }
    Ok(())
}

/// A line per package, then each text below the packages that it is for.
fn text(inventory: &Inventory) -> String {
    let own = format!("till {} ({})", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_LICENSE"));
    let mut text = format!("{own}\n\nIn it are:\n\n");
    for package in &inventory.packages {
        text += &format!("{} {} ({})\n    {}\n", package.name, package.version, package.license, package.url);
    }
    for (number, licence) in inventory.texts.iter().enumerate() {
        let mut whose: Vec<String> = inventory
            .packages
            .iter()
            .filter(|package| package.texts.contains(&number))
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        if inventory.own.contains(&number) {
            whose.insert(0, "till".to_owned());
        }
        text += &format!("\n{}\n{}\n\n{licence}", "=".repeat(80), whose.join(", "));
    }
    text
}
