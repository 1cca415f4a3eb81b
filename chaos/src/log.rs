//! Append-only logs that survive their writer: one `write` for each line, files opened with `O_APPEND`.
//!
//! A log consists of many small files. A full disk is simulated by a limit on the size of a process's files; the process can
//! still write its log, because no log file comes near that limit.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes after which the next file is begun: well below the smallest limit that simulates a full disk.
const FILE_BYTES_MAX: usize = 24 * 1024;

/// A log that one process writes.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<Tail>>);

#[derive(Debug)]
struct Tail {
    folder: PathBuf,
    /// The prefix of the file names: no two writers share it.
    writer: String,
    number: usize,
    file: File,
    written: usize,
}

impl Log {
    pub(crate) fn open(folder: &Path, writer: &str) -> Result<Self> {
        let file = file(folder, writer, 0)?;
        let tail = Tail { folder: folder.into(), writer: writer.into(), number: 0, file, written: 0 };
        Ok(Self(Arc::new(Mutex::new(tail))))
    }

    /// Appends a line. The operating system has it when this returns, so a SIGKILL loses nothing.
    pub(crate) fn append(&self, line: &str) -> Result<()> {
        let line = format!("{line}\n");
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.written + line.len() > FILE_BYTES_MAX {
            tail.number += 1;
            tail.file = file(&tail.folder, &tail.writer, tail.number)?;
            tail.written = 0;
        }
        tail.written += line.len();
        tail.file.write_all(line.as_bytes())
    }
}

fn file(folder: &Path, writer: &str, number: usize) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(folder.join(format!("{writer}-{number:05}")))
}

/// Every whole line of every file in a folder, writer by writer. A line whose writer was killed in the middle is left out.
pub(crate) fn read(folder: &Path) -> Result<Vec<String>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)?;
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines.extend(whole.map(str::to_owned));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_back_in_order_over_its_files_and_without_a_torn_line() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let log = Log::open(folder.path(), "w1").expect("the folder is ours");
        let lines: Vec<_> = (0..1_000).map(|number| format!("{number:0>60}")).collect();
        lines.iter().for_each(|line| log.append(line).expect("there is room"));
        std::fs::write(folder.path().join("w2-00000"), "whole\ntorn").expect("there is room");

        let files = std::fs::read_dir(folder.path()).expect("the folder is ours").count();
        assert!(files > 3, "{files} files");
        let read = read(folder.path()).expect("all is text");
        assert_eq!(read[..1_000], lines);
        assert_eq!(read[1_000..], ["whole"]);
    }
}
