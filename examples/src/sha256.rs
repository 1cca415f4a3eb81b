//! SHA-256 of files, and the line that `sha256sum` prints for one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest piece of a file in memory: a file of several gigabytes uses no more than this.
const READ_BYTES_MAX: u64 = 1024 * 1024;
/// Smallest buffer, for files that report a size of zero and are not empty.
const READ_BYTES_MIN: u64 = 4 * 1024;

/// The content of a file when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// SHA-256 of the content.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
    /// Length of the content in bytes.
    pub bytes: u64,
}

/// Reads a regular file in pieces and hashes it. Blocks; not for an async thread.
///
/// # Errors
/// If it cannot be read, or is no longer a regular file.
pub fn hash(path: &Path) -> io::Result<Hashed> {
    // Checked before it is opened: opening a named pipe would block, and a link is not followed.
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    let mut file = File::open(path)?;
    let mut buffer =
        vec![0; usize::try_from(metadata.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX)).unwrap_or(0)];
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Hashed { sha256: hasher.finalize().into(), bytes }),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a hash and a path as `sha256sum` does: separated by two spaces; backslashes and line ends in the path are escaped,
/// and a backslash before the line marks that.
///
/// # Errors
/// Those of the writer.
pub fn write_line(out: &mut impl Write, sha256: &[u8; 32], path: &[u8]) -> io::Result<()> {
    if path.iter().any(|byte| escape(*byte).is_some()) {
        out.write_all(b"\\")?;
    }
    for byte in sha256 {
        write!(out, "{byte:02x}")?;
    }
    out.write_all(b"  ")?;
    for byte in path {
        match escape(*byte) {
            Some(escaped) => out.write_all(escaped)?,
            None => out.write_all(std::slice::from_ref(byte))?,
        }
    }
    out.write_all(b"\n")
}

const fn escape(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'\\' => Some(b"\\\\"),
        b'\n' => Some(b"\\n"),
        b'\r' => Some(b"\\r"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_over_all_of_its_pieces() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(READ_BYTES_MAX + 1).expect("space");

        let hashed = hash(file.path()).expect("readable");

        let expected: [u8; 32] = Sha256::digest(vec![0; usize::try_from(READ_BYTES_MAX).unwrap() + 1]).into();
        assert_eq!(hashed, Hashed { sha256: expected, bytes: READ_BYTES_MAX + 1 });
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).expect("a link");

        assert!(hash(folder.path()).is_err());
        assert!(hash(&folder.path().join("link")).is_err());
        assert_eq!(hash(&folder.path().join("none")).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn odd_names_are_escaped_and_marked() {
        let line = |path: &[u8]| {
            let mut out = Vec::new();
            write_line(&mut out, &[0xab; 32], path).expect("memory");
            out
        };
        let hash = b"ab".repeat(32);
        assert_eq!(line(b"a b\xff"), [&hash[..], b"  a b\xff\n"].concat());
        assert_eq!(line(b"a\nb\r\\"), [b"\\", &hash[..], b"  a\\nb\\r\\\\\n"].concat());
    }
}
