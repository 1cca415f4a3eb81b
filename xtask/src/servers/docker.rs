//! Servers in containers: finds the image, and describes its container. Queries the engine by its command line;
//! testcontainers starts containers, in a program that is built when it is first needed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::container::{self, Container, Ready};
use super::kept::Kept;
use super::kind::{Fsync, Kind};
use crate::command::Command;

/// The image to take: the one that the environment names, else the one made by `cargo xtask images`, else the one of the
/// registry. An image that is not on this machine is pulled.
///
/// # Errors
///
/// If no engine answers, or the image is missing and cannot be pulled.
pub(crate) fn image(kind: Kind) -> Result<String> {
    ensure!(answers(&["version", "--format", "{{.Server.Version}}"])?, "no engine answers");
    if let Some(image) = named(env::var(kind.facts().image_variable).ok()) {
        return present(&image).or_else(|_| pulled(kind, image));
    }
    present(kind.facts().own_image)
        .or_else(|_| present(kind.facts().official_image))
        .or_else(|_| pulled(kind, kind.facts().official_image.into()))
}

/// An image with its tag, which testcontainers requires.
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
    let why = String::from_utf8_lossy(&pull.stderr);
    let why = why.trim().trim_start_matches("Error response from daemon: ");
    bail!(
        "the image {image} is not here and cannot be pulled ({}); `cargo xtask images --only {kind}` makes one",
        why.lines().next().unwrap_or("no reason given")
    )
}

/// Starts a container of `image`.
pub(super) fn start(kind: Kind, image: &str, fsync: Fsync, password: &str) -> Result<Kept> {
    remove_leftovers();
    let program = build()?;
    let container = container(kind, image, fsync, password);
    let mut keeper = Process::new(program);
    keeper.env(container::VARIABLE, serde_json::to_string(&container)?);
    // The command line knows contexts, testcontainers knows this variable.
    if env::var_os("DOCKER_HOST").is_none()
        && let Ok(context) = docker(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
        && context.status.success()
    {
        keeper.env("DOCKER_HOST", String::from_utf8_lossy(&context.stdout).trim());
    }
    Kept::start(&mut keeper)
}

/// The settings that both the registry's images and those of `cargo xtask images` accept.
fn container(kind: Kind, image: &str, fsync: Fsync, password: &str) -> Container {
    let mut environment = Vec::new();
    let mut args = Vec::new();
    let ready = match kind {
        Kind::Postgres => {
            environment.push(("POSTGRES_PASSWORD".into(), password.into()));
            let settings = kind.settings(fsync).iter();
            args.extend(settings.flat_map(|(name, value)| ["-c".into(), format!("{name}={value}")]));
            // The temporary server that sets up the cluster prints the same, on the other stream.
            Ready::Stderr("database system is ready to accept connections".into())
        }
        Kind::Redis => {
            args.extend(["redis-server".into(), "--requirepass".into(), password.into()]);
            let settings = kind.settings(fsync).iter();
            args.extend(settings.flat_map(|(name, value)| [format!("--{name}"), (*value).into()]));
            Ready::Stdout("Ready to accept connections".into())
        }
    };
    let labels = vec![(KEPT_BY.into(), keeper_of(std::process::id()))];
    Container { image: image.into(), port: kind.facts().port, ready, environment, args, labels }
}

/// Builds the program that starts containers, and prints that, because the first build takes a while.
fn build() -> Result<PathBuf> {
    let build = ["build", "--package", "xtask", "--features", "docker", "--bin", "containers"];
    let programs = Command::cargo(build).programs()?.into_iter();
    let mut programs = programs.filter(|(artifact, _)| artifact.target.name == "containers");
    Ok(programs.next().context("cargo built no program named containers")?.1)
}

/// The label with the owner of a container.
const KEPT_BY: &str = "dev.stent.kept-by";

/// The owner of a container: an identifier that no process of another machine has.
fn keeper_of(process: u32) -> String {
    format!("{}/{process}", this_machine())
}

/// This machine, or this container, within which process numbers are valid.
fn this_machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    format!("{}-{}", read("/proc/sys/kernel/hostname"), read("/proc/sys/kernel/random/boot_id"))
}

/// Removes the containers of processes of this machine that are gone, and whose keepers were killed with them.
fn remove_leftovers() {
    let format = format!("{{{{.ID}}}} {{{{.Label \"{KEPT_BY}\"}}}}");
    let listed = docker(&["ps", "--all", "--filter", &format!("label={KEPT_BY}"), "--format", &format]);
    let Ok(listed) = listed else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        if let Some((id, keeper)) = line.split_once(' ')
            && is_leftover(keeper)
        {
            // Another process may be removing it, too.
            drop(docker(&["rm", "--force", "--volumes", id]));
        }
    }
}

fn is_leftover(keeper: &str) -> bool {
    let process = keeper.strip_prefix(&this_machine()).and_then(|process| process.strip_prefix('/'));
    // A process of this machine, which has /proc; on other systems, no process counts as gone.
    process.filter(|_| Path::new("/proc/self").exists()).is_some_and(|process| {
        // The state follows the name. An ended process stays a zombie until its parent waits for it, which the first
        // process of a container seldom does.
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    })
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
        let postgres = container(Kind::Postgres, "p:1", Fsync::On, "secret");
        assert!(postgres.environment.contains(&("POSTGRES_PASSWORD".into(), "secret".into())));
        assert_eq!(postgres.args[..2], ["-c", "max_connections=300"]);

        let redis = container(Kind::Redis, "r:1", Fsync::Off, "secret");
        assert_eq!(redis.args[..3], ["redis-server", "--requirepass", "secret"]);
        assert_eq!(redis.args[redis.args.len() - 2..], ["--save", ""]);
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
