//! A private server on a free port of loopback, with its own folder. Dropping its value stops it. Tests that see only `stent`
//! include this module by its path: it knows nothing of Stent.

use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, FromRedisValue};
use tempfile::TempDir;

/// The time that a server may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// The number of attempts to start a server: another process may take the chosen port first.
const TRIES_MAX: u32 = 3;

/// A running server. Dropping this value kills the server and deletes its folder.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    folder: TempDir,
    port: u16,
    settings: String,
}

/// Settings under which the server loses no acknowledged write.
pub(crate) const ALWAYS: [(&str, &str); 3] = [("appendonly", "yes"), ("appendfsync", "always"), ("save", "")];

impl Server {
    /// Starts a server with these settings after [`ALWAYS`]. The last setting of a name applies.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let mut tries = 1;
        loop {
            let mut server = Self::prepare(settings);
            match server.run() {
                Ok(()) => return server,
                Err(log) if tries < TRIES_MAX && log.contains("Address already in use") => tries += 1,
                Err(log) => panic!("{} did not come up:\n{log}", program()),
            }
        }
    }

    /// Chooses a port and a folder, and starts nothing.
    pub(crate) fn prepare(settings: &[(&str, &str)]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("stent-redis-").tempdir().expect("there is room for a folder");
        let port = free_port();
        let (of_port, of_folder) = (port.to_string(), folder.path().display().to_string());
        let place = [("bind", "127.0.0.1"), ("port", of_port.as_str()), ("dir", of_folder.as_str())];
        let settings = place.iter().chain(&ALWAYS).chain(settings);
        let settings = settings.map(|(name, value)| format!("{name} \"{value}\"\n")).collect();
        Self { child: None, folder, port, settings }
    }

    /// Starts or restarts the server with the data in its folder.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.spawn();
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
                return Err(self.log());
            }
            if self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(self.log())
    }

    /// Starts the server without waiting until it replies.
    pub(crate) fn spawn(&mut self) {
        let path = self.folder.path().join("redis.conf");
        fs::write(&path, &self.settings).expect("the folder is ours");
        let log =
            File::options().create(true).append(true).open(self.folder.path().join("log")).expect("ours");
        let mut command = Command::new(program());
        command
            .arg(path)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file"))
            .stdout(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {}: {error}; install Debian's package redis-server, or name a program with \
                 STENT_REDIS_SERVER",
                program()
            )
        });
        self.child = Some(child);
    }

    /// Whether the server accepts connections and replies, even with an error.
    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        if self.settings.contains("tls-port") {
            // A TLS server does not reply to plain text.
            return true;
        }
        let mut first = [0];
        let read = stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .and_then(|()| stream.write_all(b"PING\r\n"));
        read.and_then(|()| stream.read_exact(&mut first)).is_ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Adds a setting for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.push_str(&format!("{name} \"{value}\"\n"));
    }

    /// Kills the server, like a crash.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Returns the process of the running server.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Opens a connection that bypasses the store, as the user `default` without a password.
    pub(crate) fn admin(&self) -> Connection {
        self.admin_by(&format!("redis://127.0.0.1:{}", self.port))
    }

    pub(crate) fn admin_by(&self, url: &str) -> Connection {
        let client = Client::open(url).expect("a URL");
        client.get_connection().unwrap_or_else(|error| panic!("{url}: {error}\n{}", self.log()))
    }

    /// Runs a command that bypasses the store.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        ask(&mut self.admin(), words)
    }
}

/// A free port of loopback, below those that the system gives to connections, and to listeners that ask for any port: nobody takes it
/// by chance while its server is down.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 20_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Runs a command.
pub(crate) fn ask<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> T {
    let (name, args) = words.split_first().expect("a command");
    redis::cmd(name).arg(args).query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> String {
    env::var("STENT_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// The append-only file at a moment. Under `appendfsync always`, it has everything that the server has acknowledged.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl History {
    pub(crate) fn of(server: &Server) -> Self {
        // Since Redis 7 the file has parts, of which only the last one grows.
        let parts = fs::read_dir(server.folder().join("appendonlydir")).into_iter().flatten().flatten();
        let part =
            parts.map(|entry| entry.path()).find(|path| path.display().to_string().ends_with(".incr.aof"));
        let path = part.unwrap_or_else(|| server.folder().join("appendonly.aof"));
        let bytes = fs::read(&path).expect("the server has a file");
        Self { path, bytes }
    }

    /// Replaces the file of a server that does not run.
    pub(crate) fn put_back(&self) {
        self.put_back_until(self.bytes.len());
    }

    /// Replaces the file by its beginning.
    pub(crate) fn put_back_until(&self, length: usize) {
        fs::write(&self.path, &self.bytes[..length]).expect("the folder is ours");
    }
}
