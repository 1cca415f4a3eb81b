//! The servers that backends under test talk to: found or started before the tests, gone after them. And
//! `cargo xtask servers`, which lends them to any command.
//!
//! Tests find a server by its URL in the environment; nothing else has to know how it came to be. A server that is
//! started here is private: it listens on a free port of loopback, has a password that nobody was told, and ends with
//! this process, whatever ends that (`kept.rs`).

mod beside;
mod choice;
mod container;
pub(crate) mod debian;
mod docker;
mod keep;
mod kept;
mod kind;
pub(crate) mod local;
mod postgres;
mod process;
mod redis;
mod user;

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::process::Command as Process;

use anyhow::{Context, Result, ensure};

pub(crate) use self::beside::programs_for_tests;
pub(crate) use self::choice::Choice;
use self::kept::Kept;
pub(crate) use self::kind::{Fsync, Kind};
use self::local::Local;
pub(crate) use self::user::is_root;
use crate::backends::Backend;
use crate::command::Command;

/// Servers that run for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Servers {
    environment: Vec<(String, String)>,
    /// Those that were started here. Held, and not looked at again: dropping them ends them.
    _kept: Vec<Kept>,
}

impl Servers {
    /// No server, for what asks none.
    pub(crate) const fn none() -> Self {
        Self { environment: Vec::new(), _kept: Vec::new() }
    }

    /// URLs without servers. `--list` connects to none, but the runner of a backend does not start without a URL.
    pub(crate) fn named_only(backends: &[Backend]) -> Self {
        let kinds = backends.iter().filter_map(|backend| Kind::of(*backend));
        let environment = kinds.map(|kind| (kind.facts().url_variable.into(), kind.url(0, "none")));
        Self { environment: environment.collect(), ..Self::none() }
    }

    /// Sees to it that every server which `backends` need is running, and says of each in one line which way was taken.
    ///
    /// # Errors
    ///
    /// When one is not to be had; the message names all ways, and why each did not lead there.
    pub(crate) fn start(backends: &[Backend], choice: &Choice, fsync: Fsync) -> Result<Self> {
        let mut kinds: Vec<_> = backends.iter().filter_map(|backend| Kind::of(*backend)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            eprintln!("servers: none needed, every backend runs in the process of its test");
        }
        Self::start_kinds(&kinds, choice, fsync)
    }

    fn start_kinds(kinds: &[Kind], choice: &Choice, fsync: Fsync) -> Result<Self> {
        let mut servers = Self::none();
        for &kind in kinds {
            let found = find(kind, choice, fsync)?;
            eprintln!("{kind}: {}", found.way);
            servers.environment.push((kind.facts().url_variable.into(), found.url));
            servers._kept.extend(found.kept);
        }
        Ok(servers)
    }

    /// What tests find the servers by.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }
}

/// A server and how it came to be.
#[derive(Debug)]
struct Found {
    url: String,
    way: String,
    kept: Option<Kept>,
}

impl Found {
    fn there(url: &str, way: &str) -> Self {
        // Without what precedes the host or follows the database: there may be a password in either.
        let place = url.split_once("://").map_or(url, |(_, rest)| rest);
        let place = place.rsplit('@').next().unwrap_or(place);
        let place = place.split('?').next().unwrap_or(place);
        Self { url: url.into(), way: format!("{way}, {place}"), kept: None }
    }

    fn started(kind: Kind, password: &str, how: &str, kept: Kept) -> Self {
        let port = kept.port();
        let way = format!("{how}, on 127.0.0.1:{port} until the end of this run");
        Self { url: kind.url(port, password), way, kept: Some(kept) }
    }
}

fn find(kind: Kind, choice: &Choice, fsync: Fsync) -> Result<Found> {
    match choice {
        Choice::At { kind: at, url } if *at == kind => Ok(Found::there(url, "as given by --servers")),
        Choice::Docker => in_docker(kind, fsync).with_context(|| format!("{kind}: no container")),
        Choice::Local => {
            here(kind, fsync).with_context(|| format!("{kind}: no server from programs of this machine"))
        }
        Choice::Auto | Choice::At { .. } => by_any_way(kind, fsync),
    }
}

fn by_any_way(kind: Kind, fsync: Fsync) -> Result<Found> {
    let variable = kind.facts().url_variable;
    if let Some(url) = env::var(variable).ok().filter(|url| !url.is_empty()) {
        let named = Kind::of_url(&url);
        ensure!(named == Some(kind), "{variable} is no URL of {kind}: {url}");
        return Ok(Found::there(&url, &format!("as given by {variable}")));
    }
    let no_container = match in_docker(kind, fsync) {
        Ok(found) => return Ok(found),
        Err(error) => format!("{error:#}"),
    };
    // Said once, in a line: whoever meant the container wants to know why it is none.
    eprintln!("{kind}: docker: {no_container}");
    here(kind, fsync).map_err(|error| anyhow::anyhow!(no_way(kind, &no_container, &format!("{error:#}"))))
}

fn no_way(kind: Kind, no_container: &str, not_here: &str) -> String {
    format!(
        "no {kind} to test with. There are four ways to one:\n  \
         1. {variable}=URL names a server that runs already; it is not set\n  \
         2. Docker, with the image in {image}, one by `cargo xtask images`, or {official}: {no_container}\n  \
         3. the programs of {kind} on this machine, and\n  \
         4. as root on Debian, its package {package}, installed by this command: {not_here}",
        variable = kind.facts().url_variable,
        image = kind.facts().image_variable,
        official = kind.facts().official_image,
        package = kind.facts().debian_package,
    )
}

fn in_docker(kind: Kind, fsync: Fsync) -> Result<Found> {
    let image = docker::image(kind)?;
    let password = password();
    let kept = docker::start(kind, &image, fsync, &password)?;
    Ok(Found::started(kind, &password, &format!("docker, a container of {image}"), kept))
}

fn here(kind: Kind, fsync: Fsync) -> Result<Found> {
    if local::programs(kind).is_none() {
        let package = kind.facts().debian_package;
        debian::can_install()
            .with_context(|| format!("there are none, and package {package} cannot be installed"))?;
        eprintln!("{kind}: installing package {package} for its programs; no service of it is started");
        debian::install(package)?;
    }
    let programs =
        local::programs(kind).context("the package was installed, and its programs are not here")?;
    let password = password();
    let mut keeper = Process::new(env::current_exe()?);
    keeper.args(["keep", kind.name(), "--fsync", &fsync.to_string()]).env(PASSWORD, &password);
    let kept = Kept::start(&mut keeper)?;
    Ok(Found::started(kind, &password, &format!("local, from {}", programs.display()), kept))
}

/// A password that nobody guesses: servers on loopback are open to everyone on this machine.
fn password() -> String {
    // The standard library's only source of chance: its seeds come from the operating system.
    let part = || RandomState::new().hash_one("password");
    format!("{:016x}{:016x}", part(), part())
}

/// Starts one private server and keeps it until standard input ends; servers are started by this
#[derive(Debug, clap::Args)]
pub(crate) struct KeepArgs {
    kind: Kind,
    #[arg(long)]
    fsync: Fsync,
}

/// What a keeper reads its server's password from. Everyone on the machine can read its arguments.
const PASSWORD: &str = "STENT_KEEP_PASSWORD";

pub(crate) fn keep(args: &KeepArgs) -> Result<bool> {
    let password = env::var(PASSWORD).with_context(|| format!("{PASSWORD} is not set"))?;
    let started = Local::start(args.kind, args.fsync, &password);
    keep::keep(started.map(|server| (server.port(), server)))
}

/// Runs a command with servers in its environment, and ends them after it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask servers -- sh -c 'psql \"$STENT_POSTGRES_URL\"'\n  cargo xtask servers --only postgres --servers docker -- cargo test -p stent-postgres"
)]
pub(crate) struct Args {
    /// Which servers, with commas between them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "postgres,redis")]
    only: Vec<Kind>,

    #[command(flatten)]
    servers: ServersArgs,

    /// Whether servers that are started here wait for the disk
    #[arg(long, default_value_t = Fsync::Off)]
    fsync: Fsync,

    /// The command, with STENT_POSTGRES_URL and STENT_REDIS_URL in its environment
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The option that all commands share which need servers.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServersArgs {
    /// Where servers come from: auto, docker, local, or the URL of one. `auto` takes the first that there is of:
    /// STENT_POSTGRES_URL or STENT_REDIS_URL; Docker; programs of this machine; Debian's packages, installed by root
    #[arg(id = "servers", long = "servers", value_name = "WAY", default_value = "auto")]
    pub(crate) choice: Choice,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    ignore_interrupts()?;
    let servers = Servers::start_kinds(&args.only, &args.servers.choice, args.fsync)?;
    let (program, rest) = args.command.split_first().context("a command has a program")?;
    let command = Command::new(program).args(rest).folder(env::current_dir()?).envs(servers.environment());
    command.run()
}

/// Leaves Ctrl-C to the command that is run: `psql` drops its query by it, and lives on.
#[cfg(unix)]
fn ignore_interrupts() -> Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    let unread = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, unread)?;
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
const fn ignore_interrupts() -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_in_the_process_of_their_test_need_no_server() {
        let backends = [Backend::Memory, Backend::Sqlite];
        let servers = Servers::start(&backends, &Choice::Docker, Fsync::Off).expect("nothing to start");
        assert_eq!(servers.environment(), []);
    }

    #[test]
    fn runners_that_only_list_get_the_urls_that_they_ask_for() {
        let servers = Servers::named_only(Backend::ALL);
        let named: Vec<_> =
            servers.environment().iter().map(|(name, url)| (name.as_str(), Kind::of_url(url))).collect();
        assert_eq!(named, [("STENT_POSTGRES_URL", Some(Kind::Postgres))]);
    }

    #[test]
    fn a_given_url_is_taken_as_it_is_and_shown_without_its_password() {
        let url = "postgres://me:secret@db.example:5432/test";
        let choice = Choice::At { kind: Kind::Postgres, url: url.into() };

        let found = find(Kind::Postgres, &choice, Fsync::Off).expect("nothing to start");

        assert_eq!(found.url, url);
        assert_eq!(found.way, "as given by --servers, db.example:5432/test");
        assert_eq!(Found::there("redis://127.0.0.1:6379?password=secret", "so").way, "so, 127.0.0.1:6379");
    }

    #[test]
    fn who_finds_no_way_is_told_of_all() {
        let message = no_way(Kind::Redis, "no engine answers", "not root");
        for way in ["STENT_REDIS_URL", "STENT_REDIS_IMAGE", "cargo xtask images", "redis-server", "not root"]
        {
            assert!(message.contains(way), "{way} in {message}");
        }
    }

    #[test]
    fn passwords_differ() {
        assert_ne!(password(), password());
        assert_eq!(password().len(), 32);
    }
}
