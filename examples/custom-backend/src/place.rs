//! One file under a lock: everything is read and written as a whole.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use stent_core::backend::{Error, ErrorKind, Result};

use crate::Durability;
use crate::data::Data;

/// The format version that this program writes. A change of the format raises it, and migrates older files in `migrate`.
pub(crate) const FORMAT: u32 = 1;

/// The first line of the file; the second line has everything else.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) format: u32,
    /// Grows with every write, and so shows whether data that was read before is current.
    version: u64,
    /// The counters that listeners watch.
    pub(crate) work: u64,
    pub(crate) ended: u64,
}

/// Where the file is, and the data that was last read from it.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    durability: Durability,
    /// Current while the file has this version.
    last: Mutex<(u64, Arc<Data>)>,
}

impl Place {
    pub(crate) fn new(path: PathBuf, durability: Durability) -> Self {
        Self { path, durability, last: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The current data. The file is replaced as a whole, so readers need no lock.
    pub(crate) fn read(&self, operation: &'static str) -> Result<Arc<Data>> {
        Ok(self.load(operation)?.1)
    }

    /// The first line, if there is a file.
    pub(crate) fn header(&self, operation: &'static str) -> Result<Option<Header>> {
        Ok(self.open(operation)?.map(|(header, _)| header))
    }

    /// Loads everything, changes it and saves it, while no other process can.
    pub(crate) fn update<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Data) -> T,
    ) -> Result<T> {
        let lock = File::create(self.beside("lock")).map_err(self.failed(operation))?;
        lock.lock().map_err(self.failed(operation))?; // Until it is dropped, or the process dies. It keeps threads apart, too.
        let (version, before) = self.load(operation)?;
        let mut data = Data::clone(&before);
        let given = change(&mut data);
        if data != *before || version == 0 {
            self.save(operation, version + 1, data)?;
        }
        Ok(given) // Most claims find nothing, and write nothing.
    }

    fn load(&self, operation: &'static str) -> Result<(u64, Arc<Data>)> {
        let Some((Header { version, .. }, mut file)) = self.open(operation)? else {
            return Ok(Default::default());
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != version {
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(self.failed(operation))?;
            *last = (version, Arc::new(serde_json::from_slice(&text).map_err(self.corrupt(operation))?));
        }
        Ok(last.clone())
    }

    /// The file, read to the end of its first line.
    fn open(&self, operation: &'static str) -> Result<Option<(Header, BufReader<File>)>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(operation)(error)),
        };
        let mut line = String::new();
        file.read_line(&mut line).map_err(self.failed(operation))?;
        let header: Header = serde_json::from_str(&line).map_err(self.corrupt(operation))?;
        if header.format > FORMAT {
            let message = format!(
                "the file has format {}, and this program knows {FORMAT}; update the program",
                header.format
            );
            return Err(Error::new(ErrorKind::Schema, operation).with_message(message));
        }
        Ok(Some((header, file)))
    }

    /// A process that dies in here leaves the old file or the new one (G1).
    fn save(&self, operation: &'static str, version: u64, data: Data) -> Result<()> {
        let header = Header { format: FORMAT, version, work: data.work, ended: data.ended };
        let new = self.beside("new");
        let mut file = BufWriter::new(File::create(&new).map_err(self.failed(operation))?);
        serde_json::to_writer(&mut file, &header).map_err(self.unwritten(operation))?;
        file.write_all(b"\n").map_err(self.failed(operation))?;
        serde_json::to_writer(&mut file, &data).map_err(self.unwritten(operation))?;
        let file = file.into_inner().map_err(|error| self.failed(operation)(error.into_error()))?;
        if self.durability == Durability::Full {
            file.sync_all().map_err(self.failed(operation))?;
        }
        fs::rename(&new, &self.path).map_err(self.failed(operation))?;
        if self.durability == Durability::Full
            && let Some(folder) = self.path.parent()
        {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(self.failed(operation))?; // Keeps the rename.
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (version, Arc::new(data));
        Ok(())
    }

    /// The path of a companion file: `x.json.lock`.
    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(what);
        name.into()
    }

    fn failed(&self, operation: &'static str) -> impl Fn(io::Error) -> Error {
        move |error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => ErrorKind::Config,
                _ => ErrorKind::Unavailable,
            };
            self.error(kind, operation).with_source(error)
        }
    }

    fn corrupt(&self, operation: &'static str) -> impl Fn(serde_json::Error) -> Error {
        move |error| self.error(ErrorKind::Corrupt, operation).with_source(error)
    }

    /// All data can be encoded, so any failure is the disk's.
    fn unwritten(&self, operation: &'static str) -> impl Fn(serde_json::Error) -> Error {
        move |error| self.failed(operation)(error.into())
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, operation).with_message(self.path.display().to_string())
    }
}
