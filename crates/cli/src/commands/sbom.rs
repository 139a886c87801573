//! `till sbom`: what is in this program, as CycloneDX 1.6. The same program always writes the same text.

use serde_json::{Value, json};

use crate::inventory::{Inventory, Package};
use crate::output;

pub(crate) fn run() -> anyhow::Result<()> {
    output::json(&document(&Inventory::read()?))?;
    Ok(())
}

fn document(inventory: &Inventory) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let own = format!("generic:till@{version}");
    let depends = |of: &str, on: &[String]| json!({"ref": of, "dependsOn": on});
    let dependencies: Vec<Value> = [depends(&own, &inventory.needs)]
        .into_iter()
        .chain(inventory.packages.iter().map(|package| depends(&package.reference(), &package.needs)))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": own,
            "name": "till",
            "version": version,
            "purl": format!("pkg:generic/till@{version}"),
            "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
        }},
        "components": inventory.packages.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

fn component(package: &Package) -> Value {
    let escaped = |text: &str| text.replace('@', "%40").replace('+', "%2B");
    let mut component = json!({
        "type": "library",
        "bom-ref": package.reference(),
        "name": package.name,
        "version": package.version,
        "purl": format!("pkg:{}/{}@{}", package.kind, escaped(&package.name), escaped(&package.version)),
        "licenses": [{"expression": package.license}],
        "externalReferences": [{"type": "website", "url": package.url}],
    });
    if let Some(sha256) = &package.sha256 {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    component
}
