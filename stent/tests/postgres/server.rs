//! A Postgres server for one test, which the test may stop and start again; it ends when this is dropped, also by a
//! panic.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stent::sea_orm::sqlx::{Connection, PgConnection};

use crate::system::{self, User};

/// Debian's folder with the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// How long it may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    folder: tempfile::TempDir,
    user: Option<User>,
    port: u16,
    password: String,
    process: Option<Child>,
}

impl Server {
    /// Creates a server and starts it.
    ///
    /// # Panics
    /// Without the programs: a test that did not run must not look like one that passed.
    pub(crate) async fn start() -> Self {
        let (folder, user) = (tempfile::tempdir().unwrap(), User::lesser());
        let password = stent::uuid().simple().to_string();
        let secret = folder.path().join("password");
        system::write(&secret, &password);
        if let Some(user) = &user {
            user.own(folder.path());
            user.own(&secret);
        }
        let port = system::free_port();
        let mut server = Self { programs: programs(), folder, user, port, password, process: None };
        let mut initdb = server.command("initdb");
        initdb.args([
            "--username",
            "postgres",
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--no-locale",
        ]);
        initdb.args(["--no-sync", "--pwfile"]).arg(&secret).arg("--pgdata").arg(server.data());
        run(initdb);
        server.start_again().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Stops it at once, like a crash: open transactions are lost, committed ones stay.
    pub(crate) fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--mode", "immediate", "--silent", "--pgdata"]).arg(self.data());
        run(stop);
        process.wait().unwrap();
    }

    /// Starts it again on its data, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={}", self.port),
            "unix_socket_directories=",
            // The machine itself never stops.
            "fsync=off",
            "full_page_writes=off",
        ] {
            server.args(["-c", setting]);
        }
        server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(server.spawn().unwrap());
        let began = Instant::now();
        while PgConnection::connect(&self.url()).await.is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            assert!(
                ended.is_none() && began.elapsed() < START_MAX,
                "postgres did not come up ({ended:?}):\n{}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some(user) = &self.user {
            user.take_on(&mut command);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // If it were killed, it would leave its children and its shared memory behind.
        let mut stop = self.command("pg_ctl");
        let stopped =
            stop.args(["stop", "--mode", "immediate", "--silent", "--pgdata"]).arg(self.data()).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = process.kill();
        }
        let _ = process.wait();
    }
}

fn run(mut command: Command) {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&ran.stderr));
}

/// The folder of the newest programs, as `cargo xtask` finds it.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(Path::new(DEBIAN)).into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let newest_first = versions.into_iter().rev().map(|(_, programs)| programs);
    system::folder_with(&["initdb", "postgres", "pg_ctl"], newest_first).unwrap_or_else(|| {
        panic!(
            "the programs of a Postgres server are not here, which this test stops and starts again: `cargo xtask test` \
             installs them, as root on Debian, also where the other tests use a server elsewhere; else install them, and have \
             initdb, postgres and pg_ctl on PATH"
        )
    })
}
