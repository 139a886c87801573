//! `till backup` and `till restore`
//!
//! A backup is copied out of the data directory, whether a server runs there or not, and noted in the audit log: by the
//! server, or in the store itself while none runs. It gets its name only when it was noted.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use till_core::audit::{Actor, ActorKind};
use till_core::hex::to_hex;
use till_store::{
    BackupInfo, COMES_BACK, OpenError, SCHEMA_VERSION, backup_make, backup_verify, restore, store_is_open,
};

use super::admin::listed;
use super::progress::Progress;
use crate::args::keep::{BackupWanted, RestoreWanted};
use crate::args::{Connection, Form, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::output;
use crate::settings::{Settings, Written};
use crate::start;

pub(crate) fn backup(wanted: &BackupWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut progress = Progress::new(wanted.output.form);
    if wanted.verify {
        let info = backup_verify(&wanted.file, &mut |step| progress.show(step))?;
        drop(progress);
        return report(&wanted.file, &info, "The backup is whole.", wanted.output);
    }
    let flags = wanted.place.at(wanted.connection.data.as_deref());
    let settings = Settings::resolve(&Written::gather(&flags, surroundings), surroundings)?;
    let file = std::path::absolute(&wanted.file)?;
    let log = AuditLog { settings: &settings, connection: &wanted.connection, surroundings };
    log.check()?;
    let info = backup_make(
        &start::open_options(&settings),
        &file,
        wanted.replace,
        (start::now(), env!("CARGO_PKG_VERSION")),
        &mut |step| progress.show(step),
        |info| log.note(&file, info).map_err(|error| format!("{error:#}")),
    )?;
    drop(progress);
    report(&file, &info, "The backup is made and checked.", wanted.output)
}

/// Where a backup is noted.
struct AuditLog<'a> {
    settings: &'a Settings,
    connection: &'a Connection,
    surroundings: &'a Surroundings,
}

impl AuditLog<'_> {
    /// Finds out before the work whether a running server lets us in.
    fn check(&self) -> anyhow::Result<()> {
        if self.settings.data.is_dir() && store_is_open(&self.settings.data)? {
            self.client()?.get("/admin/instance").context("the server has to note the backup")?;
        }
        Ok(())
    }

    /// The server of this directory, or the one that the caller names.
    fn client(&self) -> anyhow::Result<Client> {
        let data = Some(self.settings.data.clone());
        Client::new(&Connection { data, ..self.connection.clone() }, self.surroundings)
    }

    fn note(&self, file: &Path, info: &BackupInfo) -> anyhow::Result<()> {
        if !store_is_open(&self.settings.data)? && info.schema < SCHEMA_VERSION {
            eprintln!("An older till wrote the database, so the backup is not noted in it.");
            return Ok(());
        }
        let opening = match start::existing_store(self.settings) {
            Ok(opening) => opening,
            Err(error) if is_running(&error) => return self.tell_server(file, info),
            Err(error) => return Err(error),
        };
        let store = opening.start()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let detail = json!({"sha256": info.sha256, "bytes": info.bytes});
            store.audit_append("backup.make", &file.display().to_string(), detail, &actor("backup")).await?;
            Ok(store.close().await?)
        })
    }

    fn tell_server(&self, file: &Path, info: &BackupInfo) -> anyhow::Result<()> {
        let client = self.client()?;
        let instance = client.get("/admin/instance")?;
        if instance["instance"]["id"].as_str() != Some(&to_hex(&info.instance_id)) {
            bail!(
                "{} serves another instance than the one in {}",
                client.base_url(),
                self.settings.data.display()
            );
        }
        let file = output::plain(&file.display().to_string());
        let note = json!({"file": file, "sha256": info.sha256, "bytes": info.bytes});
        client.post("/admin/backups", Some(&note)).map(drop)
    }
}

/// Whether a store could not be opened because a server has it.
pub(super) fn is_running(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::AlreadyRunning { .. }))
}

/// Somebody at this machine.
pub(super) fn actor(command: &str) -> Actor {
    Actor { kind: ActorKind::LocalCli, id: command.to_owned(), address: None, request_id: None }
}

pub(crate) fn put_back(wanted: &RestoreWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let written = Written::gather(wanted.directories.settings(), surroundings);
    let settings = Settings::resolve(&written, surroundings)?;
    let mut progress = Progress::new(wanted.output.form);
    let restored = restore(
        &wanted.file,
        &start::open_options(&settings),
        wanted.replace,
        (&actor("restore"), start::now()),
        &mut |step| progress.show(step),
    )?;
    drop(progress);
    let info = &restored.info;
    let is_missing =
        |id: &till_core::token::MasterKeyId| !start::master_keys_kept(&settings.key_dir).contains(id);
    let missing = info.master_key.filter(is_missing);
    if wanted.output.form == Form::Json {
        let kept = restored.kept.map(|kept| kept.display().to_string());
        output::json(&json!({
            "restored": {"data": settings.data.display().to_string(), "kept": kept, "fenced": true, "cameBack": COMES_BACK},
            "backup": info_json(&wanted.file, info),
        }))?;
        return Ok(());
    }
    output::line(&format!("The backup of {} is restored into {}.", info.taken_at, settings.data.display()))?;
    if let Some(kept) = restored.kept {
        output::line(&format!("What was there before is kept as {}.", kept.display()))?;
    }
    if let Some(id) = missing {
        output::line(&format!(
            "Its scoped keys were made under master key {id}, which is not in {}: put it there, or give it, before the start.",
            settings.key_dir.display()
        ))?;
    }
    output::line(&format!(
        "\nEverything is as it was when the backup was taken, but for sessions and claim links, which have ended. What may have \
         come back:\n{}",
        listed(&COMES_BACK)
    ))?;
    output::line(
        "\nALL KEYS ARE REFUSED, and only the owner's admin key is let in, until you accept that:\n  \
         till admin reset-owner          if the owner's admin key was changed since the backup\n  till start\n  \
         till keys revoke …              what must not be used again; the same for tokens, members, credentials, projects\n  \
         till admin accept-rollback",
    )?;
    Ok(())
}

fn report(file: &Path, info: &BackupInfo, verdict: &str, output: Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        output::json(&json!({"backup": info_json(file, info)}))?;
        return Ok(());
    }
    output::pairs(&[
        ("file", file.display().to_string()),
        ("bytes", info.bytes.to_string()),
        ("sha256", info.sha256.clone()),
        ("taken", info.taken_at.to_string()),
        ("by till", info.version.clone()),
        ("instance", to_hex(&info.instance_id)),
        ("keys", info.keys.to_string()),
        ("audit entries", info.audit_seq.to_string()),
        ("master key", info.master_key.map_or_else(|| "-".to_owned(), |id| id.to_string())),
    ])?;
    output::line(&format!("\n{verdict} The master key is not in it: keep a copy of that elsewhere."))?;
    Ok(())
}

fn info_json(file: &Path, info: &BackupInfo) -> Value {
    json!({
        "file": file.display().to_string(),
        "bytes": info.bytes,
        "sha256": info.sha256,
        "takenAt": till_admin::rfc3339(info.taken_at),
        "version": info.version,
        "schema": info.schema,
        "instance": to_hex(&info.instance_id),
        "incarnation": info.incarnation,
        "keys": info.keys,
        "auditEntries": info.audit_seq,
        "masterKey": info.master_key.map(|id| id.to_string()),
    })
}
