//! The servers of backends under test: found or started before the tests, and ended after them. And
//! `cargo xtask servers`, which provides them to any command.
//!
//! Tests find a server by its URL in the environment, however it was found or started. A server that is started here
//! is private: it listens on a free loopback port, has a secret password, and ends with this process, however that
//! ends (`kept.rs`).

mod container;
mod docker;
mod keep;
mod kept;
mod kind;
mod local;
pub(crate) mod programs;

use std::collections::BTreeSet;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::process::Command as Process;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

pub(crate) use self::docker::image as docker_image;
use self::kept::Kept;
pub(crate) use self::kind::{Choice, Fsync, Kind};
use self::local::Local;
pub(crate) use self::local::is_root;
use crate::backends::Backend;
use crate::command::Command;

/// Servers that run for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Servers {
    environment: Vec<(String, String)>,
    /// The servers that were started here. Dropping them ends them.
    _kept: Vec<Kept>,
}

impl Servers {
    /// URLs without servers. `--list` connects to none, but the runner of a backend does not start without a URL.
    pub(crate) fn named_only(backends: &[Backend]) -> Self {
        let kinds = backends.iter().filter_map(|backend| Kind::of(*backend));
        let environment = kinds.map(|kind| (kind.facts().url_variable.into(), kind.url(0, "none")));
        Self { environment: environment.collect(), _kept: Vec::new() }
    }

    /// Makes sure that every server that `backends` need is running, and prints one line for each that says how it was
    /// found or started.
    ///
    /// # Errors
    ///
    /// If a server is not available; the message names all ways, and why each failed.
    pub(crate) fn start(backends: &[Backend], choice: &Choice, fsync: Fsync) -> Result<Self> {
        let kinds: BTreeSet<_> = backends.iter().filter_map(|backend| Kind::of(*backend)).collect();
        if kinds.is_empty() {
            eprintln!("servers: none needed, every backend runs in the process of its test");
        }
        Self::start_kinds(kinds, choice, fsync)
    }

    fn start_kinds(kinds: impl IntoIterator<Item = Kind>, choice: &Choice, fsync: Fsync) -> Result<Self> {
        let mut servers = Self::named_only(&[]);
        for kind in kinds {
            let found = find(kind, choice, fsync)?;
            eprintln!("{kind}: {}", found.way);
            servers.environment.push((kind.facts().url_variable.into(), found.url));
            servers._kept.extend(found.kept);
        }
        Ok(servers)
    }

    /// The environment variables by which tests find the servers.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }
}

/// A server, and how it was found or started.
#[derive(Debug)]
struct Found {
    url: String,
    way: String,
    kept: Option<Kept>,
}

impl Found {
    fn there(url: &str, way: &str) -> Self {
        // Without the part before the host and the part after the database: either may contain a password.
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
    // Printed once, for users who expected a container.
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
    if programs::folder_of(kind).is_none() {
        let install = programs::install(kind.facts().debian_package, &format!("for the programs of {kind}"));
        install.context("there are none")?;
    }
    let programs =
        programs::folder_of(kind).context("the package was installed, and its programs are not here")?;
    let password = password();
    let mut keeper = Process::new(env::current_exe()?);
    keeper.args(["keep", kind.name(), "--fsync", &fsync.to_string()]).env(PASSWORD, &password);
    let kept = Kept::start(&mut keeper)?;
    Ok(Found::started(kind, &password, &format!("local, from {}", programs.display()), kept))
}

/// A random password, because everyone on this machine can connect to loopback servers.
fn password() -> String {
    // The standard library's only source of randomness: its seeds come from the operating system.
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

/// The environment variable with the password for a keeper's server, because everyone on the machine can read the
/// keeper's arguments.
const PASSWORD: &str = "STENT_KEEP_PASSWORD";

pub(crate) fn keep(args: &KeepArgs) -> Result<bool> {
    let password = env::var(PASSWORD).with_context(|| format!("{PASSWORD} is not set"))?;
    keep::keep(|| {
        let server = Local::start(args.kind, args.fsync, &password)?;
        Ok((server.port(), server))
    })
}

/// Runs a command with servers in its environment, and ends them after it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask servers -- sh -c 'psql \"$STENT_POSTGRES_URL\"'\n  cargo xtask servers --only postgres --servers docker -- cargo test -p stent-postgres"
)]
pub(crate) struct Args {
    /// The servers, with commas between them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "postgres,redis")]
    only: Vec<Kind>,

    #[command(flatten)]
    servers: ServersArgs,

    /// When servers that are started here wait for the disk: before each confirmation, once a second (Redis only), or never
    #[arg(long, default_value_t = Fsync::Off)]
    fsync: Fsync,

    /// The command, with STENT_POSTGRES_URL and STENT_REDIS_URL in its environment
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The option of all commands that need servers.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServersArgs {
    /// The source of servers: auto, docker, local, or the URL of one. `auto` takes the first available of:
    /// STENT_POSTGRES_URL or STENT_REDIS_URL; Docker; programs of this machine; Debian's packages, installed by root
    #[arg(id = "servers", long = "servers", value_name = "WAY", default_value = "auto")]
    pub(crate) choice: Choice,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    // The command handles Ctrl-C itself: `psql` cancels its query and continues.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default())?;
    let servers = Servers::start_kinds(args.only.iter().copied(), &args.servers.choice, args.fsync)?;
    let (program, rest) = args.command.split_first().context("a command has a program")?;
    let command = Command::new(program).args(rest).folder(env::current_dir()?).envs(servers.environment());
    command.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_backends_with_a_server_need_one() {
        let none = Servers::start(&[Backend::Memory, Backend::Sqlite], &Choice::Docker, Fsync::Off);
        assert_eq!(none.expect("nothing to start").environment(), []);
        let listed = Servers::named_only(Backend::ALL);
        let named: Vec<_> =
            listed.environment().iter().map(|(name, url)| (name.as_str(), Kind::of_url(url))).collect();
        let every = [("STENT_POSTGRES_URL", Some(Kind::Postgres)), ("STENT_REDIS_URL", Some(Kind::Redis))];
        assert_eq!(named, every);
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
    }
}
