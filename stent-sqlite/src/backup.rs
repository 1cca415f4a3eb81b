//! Copies a whole store while work continues.
//!
//! SQLite reads one snapshot of the store and writes it to a new file. The file gets its final name only when it is
//! complete and on the disk; until then it has a temporary name. If anything fails, no file remains.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sea_orm::sqlx::{self, ConnectOptions, Connection, SqliteConnection};
use stent_core::backend::{Error, ErrorKind, Result};
use stent_sql::Backup;
use uuid::Uuid;

use crate::dialect::classify;
use crate::files::Files;

const OPERATION: &str = "backup";

/// The source of a copy.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file, read through a separate connection that blocks nobody.
    File { connect: Box<SqliteConnectOptions>, files: Arc<Files> },
    /// A store in memory, read through its only connection.
    Memory(SqlitePool),
}

#[async_trait]
impl Backup for Source {
    async fn copy_to(&self, path: &Path) -> Result<()> {
        let path =
            std::path::absolute(path).map_err(|error| unusable(path, "is not a path").with_source(error))?;
        check(&path)?;
        // In a task of its own: a copy that began is completed, or cleaned up if it fails, even if nobody waits for it.
        let copied = tokio::spawn(copy(self.clone(), path)).await;
        copied.map_err(|error| Error::new(ErrorKind::Unavailable, OPERATION).with_source(error))?
    }
}

async fn copy(source: Source, path: PathBuf) -> Result<()> {
    let mut part = OsString::from(&path);
    part.push(format!(".part-{}", Uuid::now_v7()));
    let part = PathBuf::from(part);
    let written = write(&source, &part).await;
    let published = tokio::task::spawn_blocking(move || {
        let published = written.and_then(|()| publish(&part, &path));
        // The copy has its final name now, or it is useless.
        let _ = fs::remove_file(&part);
        published
    });
    published.await.map_err(|error| Error::new(ErrorKind::Unavailable, OPERATION).with_source(error))?
}

async fn write(source: &Source, part: &Path) -> Result<()> {
    let text = part.to_str().ok_or_else(|| unusable(part, "is not UTF-8, which SQLite requires"))?;
    match source {
        Source::File { connect, files } => {
            files.check(OPERATION)?;
            let mut connection = connect.connect().await.map_err(failed)?;
            let written = vacuum(&mut connection, text).await;
            connection.close().await.map_err(failed)?;
            // The file was opened by its name, which may belong to a different file by now.
            written.and_then(|()| files.check(OPERATION))
        }
        Source::Memory(pool) => vacuum(&mut *pool.acquire().await.map_err(failed)?, text).await,
    }
}

async fn vacuum(connection: &mut SqliteConnection, path: &str) -> Result<()> {
    sqlx::query("VACUUM INTO ?1").bind(path).execute(connection).await.map(drop).map_err(failed)
}

/// Syncs the file to the disk and gives it its final name.
fn publish(part: &Path, path: &Path) -> Result<()> {
    let published = File::open(part).and_then(|file| file.sync_all()).and_then(|()| {
        // Unlike renaming, linking never replaces an existing file.
        fs::hard_link(part, path).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ if path.exists() => Err(io::ErrorKind::AlreadyExists.into()),
            // Some file systems do not support hard links.
            _ => fs::rename(part, path),
        })
    });
    published.and_then(|()| sync_folder(path)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => unusable(path, "cannot be written").with_source(error),
    })
}

/// Syncs the name to the disk too, where directories can be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn check(path: &Path) -> Result<()> {
    match path.parent().map(fs::metadata) {
        Some(Ok(parent)) if parent.is_dir() => {}
        _ => return Err(unusable(path, "is in a directory that does not exist; create the directory first")),
    }
    if path.exists() { Err(taken(path)) } else { Ok(()) }
}

fn taken(path: &Path) -> Error {
    unusable(path, "already exists; name a new file")
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, OPERATION).with_message(format!("{} {what}", path.display()))
}

fn failed(error: sqlx::Error) -> Error {
    let failed = Error::new(classify(&error), OPERATION).with_message(error.to_string());
    failed.with_source(error)
}
