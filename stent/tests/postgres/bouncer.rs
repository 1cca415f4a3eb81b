//! A PgBouncer for one test, in front of the server, on a free loopback port; it ends when this is dropped, also by a panic.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stent::sea_orm::sqlx::postgres::PgConnectOptions;

use crate::database::TestDatabase;
use crate::system::{self, User};

/// The environment variable with the program's path, if the default is not to be used.
const VARIABLE: &str = "STENT_PGBOUNCER";

/// Debian's path of the program, which is not on every PATH.
const DEBIAN: &str = "/usr/sbin";

/// Startup parameters of the driver that PgBouncer does not know.
const IGNORED: &str = "options,extra_float_digits";

/// How long it may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// The pool mode: how long a client keeps its connection to the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Session,
    Transaction,
}

#[derive(Debug)]
pub(crate) struct Bouncer {
    process: Child,
    port: u16,
    url: String,
    _folder: tempfile::TempDir,
}

impl Bouncer {
    /// Starts one in front of a database, with this many connections to it.
    ///
    /// # Panics
    /// Without the program: a test that did not run must not look like one that passed.
    pub(crate) fn start(database: &TestDatabase, mode: Mode, connections: u32) -> Self {
        Self::start_ignoring(database, mode, connections, IGNORED)
    }

    /// The same, but clients may send only startup parameters that are ignored.
    pub(crate) fn start_ignoring(
        database: &TestDatabase,
        mode: Mode,
        connections: u32,
        ignored: &str,
    ) -> Self {
        let server: PgConnectOptions = database.url().parse().unwrap();
        let port = system::free_port();
        let folder = tempfile::tempdir().unwrap();
        let (login, url) = login(&database.url(), port);
        let [users, settings, log] = ["users", "settings", "log"].map(|name| folder.path().join(name));
        system::write(&users, &login);
        let mode = match mode {
            Mode::Session => "session",
            Mode::Transaction => "transaction",
        };
        // The password is needed here, too.
        let auth = if login.ends_with(" \"\"\n") { "trust" } else { "scram-sha-256" };
        let tracks = if tracks_statements() { "max_prepared_statements = 500" } else { "" };
        system::write(
            &settings,
            &format!(
                "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = {auth}\nauth_file = {}\npool_mode = {mode}\nmax_client_conn = 200\n\
                 default_pool_size = {connections}\nignore_startup_parameters = {ignored}\n{tracks}\n",
                server.get_host(),
                server.get_port(),
                users.display(),
            ),
        );
        let mut command = Command::new(program());
        if let Some(user) = User::lesser() {
            [folder.path(), &users, &settings].into_iter().for_each(|path| user.own(path));
            user.take_on(&mut command);
        }
        let file = File::create(&log).unwrap();
        command.arg(&settings).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let process = command.spawn().unwrap();
        let mut bouncer = Self { process, port, url, _folder: folder };
        bouncer.wait_until_it_listens(&log);
        bouncer
    }

    /// The URL of the database through PgBouncer.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Host and port, as messages show them.
    pub(crate) fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn wait_until_it_listens(&mut self, log: &Path) {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.process.try_wait().unwrap();
            let is_late = began.elapsed() > START_MAX;
            assert!(
                ended.is_none() && !is_late,
                "pgbouncer did not come up ({ended:?}):\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether it prepares statements again on each connection that runs them.
pub(crate) fn tracks_statements() -> bool {
    let said = Command::new(program()).arg("--version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    // PgBouncer 1.18.0
    let version = said.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (1, 21)
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return named.into();
    }
    let found = system::folder_with(&["pgbouncer"], [PathBuf::from(DEBIAN)]);
    let folder = found.unwrap_or_else(|| {
        panic!(
            "there is no pgbouncer to test with: `cargo xtask test` installs it, as root on Debian; elsewhere install it, or \
             name the program in {VARIABLE}"
        )
    });
    folder.join("pgbouncer")
}

/// The user and the password in the form of its file, and the URL through it.
fn login(url: &str, port: u16) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (login, place) = rest.rsplit_once('@').unwrap_or(("postgres", rest));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    assert!(!login.contains('%'), "the tests read no %.. in the user and the password of the server");
    let (_, database) = place.split_once('/').unwrap();
    (format!("\"{user}\" \"{password}\"\n"), format!("{scheme}://{login}@127.0.0.1:{port}/{database}"))
}
