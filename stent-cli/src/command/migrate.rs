//! `stent migrate`: the one command that creates a store, and its tables.

use std::sync::Arc;

use serde_json::json;
use stent::backend::{SchemaVersion, Store};
use stent::view::Verdict;

use crate::cli::{Format, Global, Migrate};
use crate::fault::{FAILED, Fault, Result};
use crate::out::Out;
use crate::store::{self, Missing, Place};

pub(crate) async fn run(global: &Global, args: &Migrate, out: &mut Out) -> Result<()> {
    let place = Place::find(global)?;
    if args.dry_run
        && let Some(file) = place.file().filter(|file| !file.exists())
    {
        let text = format!("{} does not exist; it would be created", file.display());
        return report(out, &text, json!({ "exists": false, "dry_run": true }));
    }
    let missing = if args.dry_run { Missing::IsAnError } else { Missing::IsCreated };
    let store = place.open(missing).await?;
    let work = migrate(&store, args.dry_run, out);
    store::closing(&store, work).await
}

async fn migrate(store: &Arc<dyn Store>, dry_run: bool, out: &mut Out) -> Result<()> {
    let SchemaVersion { applied, known } = store.version().await?;
    if applied > known {
        let message = format!("the store has {applied} migrations, and this program knows {known}");
        return Err(
            Fault::new(FAILED, message).hint("use the version of this program that migrated the store")
        );
    }
    let left = known - applied;
    // Also if there is nothing to do: it checks that the migrations are the same ones.
    let restored = match (dry_run, left) {
        (true, 0) => lacking(store).await?,
        (true, _) => Vec::new(),
        (false, _) => {
            store.migrate().await?;
            store.restore_indexes().await?
        }
    };
    let text = match (left, dry_run) {
        (0, _) if known == 0 => "this kind of store has no tables to migrate".to_owned(),
        (0, _) => format!("up to date: all {known} migrations were applied before"),
        (left, true) => format!("would apply {left} of {known} migrations"),
        (left, false) => format!("applied {left} of {known} migrations"),
    };
    let now = if dry_run { applied } else { known };
    let text = match restored.as_slice() {
        [] => text,
        names => {
            let verb = if dry_run { "would create" } else { "created" };
            format!("{text}; {verb} missing indexes again: {}", names.join(", "))
        }
    };
    let indexes = json!(restored);
    report(
        out,
        &text,
        json!({ "exists": true, "dry_run": dry_run, "applied": now, "known": known, "missing": left, "indexes": indexes }),
    )
}

/// The indexes that somebody has dropped, as the store itself finds, with those that are not usable.
async fn lacking(store: &Arc<dyn Store>) -> Result<Vec<String>> {
    let findings = store.diagnose().await?;
    let found = findings.iter().find(|found| found.check == "indexes" && found.verdict == Verdict::Problem);
    let names = found.and_then(|found| found.what.split_once(": ")).map(|(_, names)| names);
    Ok(names.map_or_else(Vec::new, |names| names.split(", ").map(str::to_owned).collect()))
}

fn report(out: &mut Out, text: &str, json: serde_json::Value) -> Result<()> {
    match out.format {
        Format::Table => out.line(text),
        Format::Json | Format::Jsonl => out.json(&json),
    }
}
