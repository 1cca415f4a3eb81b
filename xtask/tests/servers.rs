//! A server that `cargo xtask` starts ends with it, and its folder is removed, however `cargo xtask` ends.
//!
//! The server is a stand-in with the necessary part of Redis's protocol: this program itself, under the name
//! `redis-server`, so the test runs on every machine. If there is a Postgres, the same is tested with it.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if std::path::Path::new(&name).ends_with("redis-server") {
        return stand_in::serve();
    }
    trials::run()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    // Servers from programs of the machine are supported on Unix only.
    ExitCode::SUCCESS
}

#[cfg(unix)]
mod stand_in {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::ExitCode;

    /// Answers every request, until it is ended.
    pub(super) fn serve() -> ExitCode {
        let settings = std::env::args().nth(1).expect("it is started with a file");
        let settings = std::fs::read_to_string(settings).expect("the file is for it to read");
        let port = settings.lines().find_map(|line| line.strip_prefix("port \"")?.strip_suffix('"'));
        let port: u16 = port.expect("a port is set").parse().expect("it is a number");
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port was free");
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            // A client that only waits for the end of this server gets no answer.
            std::thread::spawn(move || {
                let asked = stream.read(&mut [0; 256]).is_ok_and(|read| read > 0);
                if asked { stream.write_all(b"+OK\r\n+PONG\r\n") } else { Ok(()) }
            });
        }
        ExitCode::SUCCESS
    }
}

#[cfg(unix)]
mod trials {
    use std::fs;
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Child, ChildStderr, ChildStdin, Command, ExitCode, Stdio};

    use libtest_mimic::{Arguments, Failed, Trial};
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    use tempfile::TempDir;

    type Outcome = Result<(), Failed>;

    pub(super) fn run() -> ExitCode {
        let args = Arguments::from_args();
        let postgres = Path::new("/usr/lib/postgresql").is_dir();
        let mut trials = Vec::new();
        for (kind, there) in [("redis", true), ("postgres", postgres)] {
            let mut add = |name: &str, can_run: bool, trial: fn(&'static str) -> Outcome| {
                let trial = Trial::test(format!("{kind}_{name}"), move || trial(kind));
                trials.push(trial.with_ignored_flag(!can_run));
            };
            add("ends_after_the_command", there, after_the_command);
            add("ends_by_ctrl_c", there, by_ctrl_c);
            add("ends_with_who_is_asked_to_end", there, |kind| by_signal(kind, Signal::TERM));
            add("ends_with_who_is_killed", there, |kind| by_signal(kind, Signal::KILL));
            // A keeper is found in /proc.
            let there = there && cfg!(target_os = "linux");
            add("ends_when_its_keeper_is_asked_to_end", there, keeper_is_asked_to_end);
            add("of_a_killed_keeper_is_cleared_away_at_the_next_start", there, keeper_is_killed);
        }
        libtest_mimic::run(&args, trials).exit_code()
    }

    fn after_the_command(kind: &'static str) -> Outcome {
        let home = Home::new()?;
        let mut lent = Lent::start(&home, kind)?;
        assert_eq!(home.folders()?, 1);

        drop(lent.stdin.take());

        assert!(lent.xtask.wait()?.success());
        lent.all_gone()?;
        assert_eq!(home.folders()?, 0);
        Ok(())
    }

    /// A terminal sends the signal to everything in the foreground.
    fn by_ctrl_c(kind: &'static str) -> Outcome {
        ended_by(kind, |xtask| kill_process_group(xtask, Signal::INT))
    }

    fn by_signal(kind: &'static str, signal: Signal) -> Outcome {
        ended_by(kind, |xtask| kill_process(xtask, signal))
    }

    fn ended_by(kind: &str, end: impl FnOnce(Pid) -> rustix::io::Result<()>) -> Outcome {
        let home = Home::new()?;
        let mut lent = Lent::start(&home, kind)?;

        end(Pid::from_child(&lent.xtask))?;

        assert!(!lent.xtask.wait()?.success());
        lent.all_gone()?;
        assert_eq!(home.folders()?, 0);
        Ok(())
    }

    fn keeper_is_asked_to_end(kind: &'static str) -> Outcome {
        let home = Home::new()?;
        let mut lent = Lent::start(&home, kind)?;

        kill_process(lent.keeper()?, Signal::TERM)?;

        drop(lent.stdin.take());
        lent.xtask.wait()?;
        lent.all_gone()?;
        assert_eq!(home.folders()?, 0);
        Ok(())
    }

    fn keeper_is_killed(kind: &'static str) -> Outcome {
        let home = Home::new()?;
        let mut lent = Lent::start(&home, kind)?;
        kill_process(lent.keeper()?, Signal::KILL)?;
        drop(lent.stdin.take());
        lent.xtask.wait()?;
        assert_eq!(home.folders()?, 1, "nobody was left to remove it");

        after_the_command_in(&home, kind)?;

        assert_eq!(home.folders()?, 0);
        Ok(())
    }

    fn after_the_command_in(home: &Home, kind: &'static str) -> Outcome {
        let mut lent = Lent::start(home, kind)?;
        drop(lent.stdin.take());
        lent.xtask.wait()?;
        lent.all_gone()
    }

    /// The folder for the servers' folders and the stand-in's program.
    struct Home(TempDir);

    impl Home {
        fn new() -> Result<Self, Failed> {
            let home = Self(tempfile::tempdir()?);
            // As root, servers are another user's.
            fs::set_permissions(home.0.path(), PermissionsExt::from_mode(0o755))?;
            fs::copy(std::env::current_exe()?, home.0.path().join("redis-server"))?;
            Ok(home)
        }

        /// The number of servers with a folder.
        fn folders(&self) -> Result<usize, Failed> {
            let mut folders = 0;
            for entry in fs::read_dir(self.0.path())? {
                folders += usize::from(entry?.file_name().to_string_lossy().starts_with("stent-server-"));
            }
            Ok(folders)
        }
    }

    /// `cargo xtask servers` with a command that runs until its input ends.
    struct Lent {
        xtask: Child,
        stdin: Option<ChildStdin>,
        stderr: ChildStderr,
        port: u16,
    }

    impl Lent {
        fn start(home: &Home, kind: &str) -> Result<Self, Failed> {
            let path = std::env::var("PATH").unwrap_or_default();
            let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"))
                .args(["servers", "--only", kind, "--servers", "local", "--"])
                .args(["sh", "-c", "echo $STENT_POSTGRES_URL$STENT_REDIS_URL; exec cat"])
                .env("PATH", format!("{}:{path}", home.0.path().display()))
                .env("TMPDIR", home.0.path())
                .env_remove("STENT_POSTGRES_URL")
                .env_remove("STENT_REDIS_URL")
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let stdin = xtask.stdin.take();
            let stdout = xtask.stdout.take().expect("it was piped");
            let mut stderr = xtask.stderr.take().expect("it was piped");
            let mut url = String::new();
            BufReader::new(stdout).read_line(&mut url)?;
            let Some(port) = port(&url) else {
                let mut said = String::new();
                stderr.read_to_string(&mut said)?;
                return Err(format!("no server: {said}").into());
            };
            TcpStream::connect(("127.0.0.1", port))?;
            Ok(Self { xtask, stdin, stderr, port })
        }

        /// The keeper of the server: the child process of xtask that is also xtask.
        fn keeper(&self) -> Result<Pid, Failed> {
            let parent = format!("PPid:\t{}", self.xtask.id());
            for process in fs::read_dir("/proc")? {
                // Processes come and go while they are listed.
                let read = |file| fs::read_to_string(process.as_ref().ok()?.path().join(file)).ok();
                let (Some(status), Some(command)) = (read("status"), read("cmdline")) else { continue };
                let number = status.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
                if status.lines().any(|line| line == parent) && command.contains("\0keep\0") {
                    return Ok(number.and_then(Pid::from_raw).ok_or("a process has a number")?);
                }
            }
            Err("xtask has no keeper".into())
        }

        /// Waits until every started process is gone, and checks that the server is.
        fn all_gone(mut self) -> Outcome {
            drop(self.stdin.take());
            // Every process that was started here, including the keeper, holds the other end of this while it runs.
            let mut said = String::new();
            self.stderr.read_to_string(&mut said)?;
            assert!(TcpStream::connect(("127.0.0.1", self.port)).is_err(), "it still listens: {said}");
            Ok(())
        }
    }

    /// `…@127.0.0.1:41587/0`
    fn port(url: &str) -> Option<u16> {
        url.rsplit_once(':')?.1.split('/').next()?.parse().ok()
    }
}
