//! Servers in containers, by the engine's own command line: which image is to be had, and a container that ends with its
//! keeper.

use std::borrow::Cow;
use std::env;
use std::process::{Command as Process, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::kind::{Fsync, Kind};

/// The image to take: the one that the environment names, else the one made by `cargo xtask images`, else the one of the
/// registry. One that is not on this machine is pulled.
///
/// # Errors
///
/// When no engine answers, or the image is not here and cannot be pulled.
pub(super) fn image(kind: Kind) -> Result<String> {
    ensure!(answers(&["version", "--format", "{{.Server.Version}}"])?, "no engine answers");
    if let Some(image) = named(env::var(kind.image_variable()).ok()) {
        return present(&image).or_else(|_| pulled(kind, image));
    }
    present(kind.own_image())
        .or_else(|_| present(kind.official_image()))
        .or_else(|_| pulled(kind, kind.official_image().into()))
}

/// An image with its tag.
fn named(image: Option<String>) -> Option<String> {
    let image = image.filter(|image| !image.is_empty())?;
    let name = image.rsplit('/').next().unwrap_or(&image);
    Some(if name.contains(':') { image } else { format!("{image}:latest") })
}

fn present(image: &str) -> Result<String> {
    ensure!(answers(&["image", "inspect", image])?, "{image} is not here");
    Ok(image.into())
}

fn pulled(kind: Kind, image: String) -> Result<String> {
    eprintln!("{kind}: docker: pulling {image}");
    let pull = docker(&["pull", "--quiet", &image])?;
    if pull.status.success() {
        return Ok(image);
    }
    let why = text(&pull.stderr);
    let why = why.trim().trim_start_matches("Error response from daemon: ");
    bail!(
        "the image {image} is not here and cannot be pulled ({}); `cargo xtask images --only {kind}` makes one",
        why.lines().next().unwrap_or("no reason given")
    )
}

/// A running container. It is removed with this value.
#[derive(Debug)]
pub(crate) struct Container {
    id: String,
    port: u16,
}

/// How long a server may take to be ready once its container runs. A file system in user space makes the first start of
/// a database slow.
const START_MAX: Duration = Duration::from_secs(120);

impl Container {
    /// Starts a container of `image`, and waits until its server answers.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or its server does not come up, with the end of its log.
    pub(super) fn start(kind: Kind, image: &str, fsync: Fsync, password: &str) -> Result<Self> {
        remove_leftovers();
        // A password in the environment: everyone on the machine can read the arguments of a program.
        let run = Process::new("docker").args(arguments(kind, image, fsync)).env(PASSWORD, password).output();
        let run = run.context("the program docker is not here")?;
        let why = || format!("cannot start a container of {image}: {}", text(&run.stderr).trim());
        ensure!(run.status.success(), why());
        let mut container = Self { id: text(&run.stdout).trim().to_owned(), port: 0 };

        let published = container.ask(&["port"], &[&format!("{}/tcp", kind.port())])?;
        let port = published.lines().find_map(|line| line.rsplit_once(':')?.1.parse().ok());
        container.port = port.with_context(|| format!("the port of {image} is not published"))?;
        let alive = || {
            let running = container.ask(&["inspect", "--format", "{{.State.Running}}"], &[])?;
            ensure!(running == "true", "it has ended");
            Ok(())
        };
        kind.wait(container.port, password, START_MAX, alive).with_context(|| {
            let log = docker(&["logs", "--tail", "15", &container.id]);
            let log =
                log.map(|log| format!("{}{}", text(&log.stdout), text(&log.stderr))).unwrap_or_default();
            format!("{kind} did not come up; the end of its log:\n{}", log.trim())
        })?;
        Ok(container)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// What the engine says of this container.
    fn ask(&self, question: &[&str], of: &[&str]) -> Result<String> {
        let answer = docker(&[question, &[&self.id], of].concat())?;
        ensure!(answer.status.success(), "{}", text(&answer.stderr).trim());
        Ok(text(&answer.stdout).trim().to_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(docker(&["rm", "--force", "--volumes", &self.id]));
    }
}

/// The variable of a container that has the password of its server. It is the one that images of Postgres read.
const PASSWORD: &str = "POSTGRES_PASSWORD";

/// Postgres keeps what its parallel workers share there; the 64 MB that containers have otherwise are too few.
const SHARED_MEMORY: &str = "256m";

/// What docker is asked: only what the images of the registry and those of `cargo xtask images` both understand.
fn arguments(kind: Kind, image: &str, fsync: Fsync) -> Vec<String> {
    let label = format!("{KEPT_BY}={}", keeper_of(std::process::id()));
    // Published to this machine, and not to its network.
    let port = format!("127.0.0.1::{}", kind.port());
    let run = ["run", "--detach", "--label", &label, "--publish", &port, "--shm-size", SHARED_MEMORY];
    let mut arguments: Vec<String> =
        run.into_iter().chain(["--env", PASSWORD, image]).map(str::to_owned).collect();
    let settings = kind.settings(fsync).iter();
    match kind {
        Kind::Postgres => {
            arguments.extend(settings.flat_map(|(name, value)| ["-c".into(), format!("{name}={value}")]));
        }
        Kind::Redis => {
            let server = format!(
                "exec redis-server --bind '* -::*' --protected-mode no --requirepass \"${PASSWORD}\" \"$@\""
            );
            arguments.extend(["sh".into(), "-c".into(), server, "redis-server".into()]);
            arguments.extend(settings.flat_map(|(name, value)| [format!("--{name}"), (*value).into()]));
        }
    }
    arguments
}

/// The label that tells whose a container is.
const KEPT_BY: &str = "dev.stent.kept-by";

/// Who keeps a container, in words that no other machine's process shares.
fn keeper_of(process: u32) -> String {
    format!("{}/{process}", this_machine())
}

/// This machine, or this container: process numbers mean something within it only.
fn this_machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    format!("{}-{}", read("/proc/sys/kernel/hostname"), read("/proc/sys/kernel/random/boot_id"))
}

/// Removes the containers of keepers on this machine that were killed before they could.
fn remove_leftovers() {
    let format = format!("{{{{.ID}}}} {{{{.Label \"{KEPT_BY}\"}}}}");
    let listed = docker(&["ps", "--all", "--filter", &format!("label={KEPT_BY}"), "--format", &format]);
    let Ok(listed) = listed else { return };
    for line in text(&listed.stdout).lines() {
        if let Some((id, keeper)) = line.split_once(' ')
            && is_leftover(keeper)
        {
            // Somebody else may be removing it too.
            drop(docker(&["rm", "--force", "--volumes", id]));
        }
    }
}

fn is_leftover(keeper: &str) -> bool {
    let process = keeper.strip_prefix(&this_machine()).and_then(|process| process.strip_prefix('/'));
    process.and_then(|process| process.parse().ok()).is_some_and(super::process::is_gone)
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn answers(args: &[&str]) -> Result<bool> {
    Ok(docker(args)?.status.success())
}

fn docker(args: &[&str]) -> Result<Output> {
    let output = Process::new("docker").args(args).stdin(Stdio::null()).output();
    output.context("the program docker is not here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_tag() {
        assert_eq!(named(Some("postgres".into())).as_deref(), Some("postgres:latest"));
        assert_eq!(named(Some("host:5000/postgres".into())).as_deref(), Some("host:5000/postgres:latest"));
        assert_eq!(named(Some("postgres:16".into())).as_deref(), Some("postgres:16"));
        assert_eq!(named(Some(String::new())), None);
    }

    #[test]
    fn a_container_gets_the_settings_as_the_official_images_take_them() {
        let postgres = arguments(Kind::Postgres, "p:1", Fsync::On);
        let rest = postgres.iter().position(|argument| argument == "p:1").expect("the image is named") + 1;
        assert_eq!(postgres[rest..][..2], ["-c", "max_connections=300"]);

        let redis = arguments(Kind::Redis, "r:1", Fsync::Off);
        assert!(redis.contains(&"127.0.0.1::6379".to_owned()));
        assert_eq!(redis[redis.len() - 2..], ["--save", ""]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_container_is_a_leftover_once_its_process_is_gone() {
        let mut ended = Process::new("cat").stdin(Stdio::piped()).spawn().expect("cat is everywhere");
        assert!(!is_leftover(&keeper_of(ended.id())), "it waits for its input");

        ended.wait().expect("it ends");
        assert!(is_leftover(&keeper_of(ended.id())));
        assert!(!is_leftover(&format!("elsewhere/{}", ended.id())), "another machine's");
    }
}
