//! A copy of a whole store, made while work goes on.
//!
//! SQLite reads one state of the store and writes it into a new file. It appears under its name once it is complete and on the
//! disk; until then it has another one, and whatever goes wrong, nothing is left.

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

/// What a copy is made of.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file: by a connection of its own, which nobody waits for.
    File { connect: Box<SqliteConnectOptions>, files: Arc<Files> },
    /// Memory, by the only connection to it.
    Memory(SqlitePool),
}

#[async_trait]
impl Backup for Source {
    async fn copy_to(&self, path: &Path) -> Result<()> {
        let path =
            std::path::absolute(path).map_err(|error| unusable(path, "is not a path").with_source(error))?;
        check(&path)?;
        // In a task of its own: what is begun is brought to an end, and cleared away if it fails, also if nobody waits.
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
        // It has its name now, or is of no use.
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
            // It was opened by the name of the file, and that is another one's by now perhaps.
            written.and_then(|()| files.check(OPERATION))
        }
        Source::Memory(pool) => vacuum(&mut *pool.acquire().await.map_err(failed)?, text).await,
    }
}

async fn vacuum(connection: &mut SqliteConnection, path: &str) -> Result<()> {
    sqlx::query("VACUUM INTO ?1").bind(path).execute(connection).await.map(drop).map_err(failed)
}

/// Has the file on the disk, and gives it its name.
fn publish(part: &Path, path: &Path) -> Result<()> {
    let published = File::open(part).and_then(|file| file.sync_all()).and_then(|()| {
        // Which, unlike renaming, never takes the name of another one away.
        fs::hard_link(part, path).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ if path.exists() => Err(io::ErrorKind::AlreadyExists.into()),
            // There are file systems without.
            _ => fs::rename(part, path),
        })
    });
    published.and_then(|()| sync_folder(path)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => unusable(path, "cannot be written").with_source(error),
    })
}

/// Has the name on the disk, too, where folders can be opened.
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
