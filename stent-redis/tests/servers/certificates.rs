//! Certificates for a server behind TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A private CA and a certificate for 127.0.0.1, as files in a folder.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name);
        let openssl = |args: &[&str]| {
            let ran = Command::new("openssl")
                .args(args)
                .current_dir(folder)
                .output()
                .expect("openssl is installed");
            assert!(ran.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        };
        let key = ["-newkey", "rsa:2048", "-nodes"];
        let ca =
            ["req", "-x509", "-days", "2", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(&[&ca[..], &key[..]].concat());
        let request = ["req", "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"];
        openssl(&[&request[..], &key[..]].concat());
        fs::write(path("names"), "subjectAltName=IP:127.0.0.1\n").expect("the folder is ours");
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "names",
            "-out",
            "server.pem",
        ]);
        Self { ca: path("ca.pem"), certificate: path("server.pem"), key: path("server.key") }
    }
}
