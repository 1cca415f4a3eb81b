//! `cargo xtask images`: images of servers for machines that reach no registry. `mmdebstrap` makes them from the packages of
//! this machine's apt configuration. They accept the settings of the official images.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::command::Command;
use crate::servers::programs::{install, on_path, write_program};
use crate::servers::{Kind, is_root};

/// Makes images of Postgres and Redis for machines without a registry; needs root, Docker and Debian
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cargo xtask images && cargo xtask conformance --backend postgres --servers docker"
)]
pub(crate) struct Args {
    /// The images to make, with commas between them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "postgres,redis")]
    only: Vec<Kind>,
}

/// The files with apt's sources of the distribution. Other sources of the machine are not used.
const SOURCES: &[&str] = &[
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list.d/ubuntu.sources",
];

/// The program that runs before the server in a container.
const ENTRYPOINT: &str = "/usr/local/bin/stent-entrypoint";

/// The label of images that are made here.
const MADE_OF: &str = "dev.stent.image";

pub(crate) fn run(args: &Args) -> Result<bool> {
    ensure!(is_root(), "images are made in a folder that one changes root into: run this as root");
    docker(["version", "--format", "{{.Server.Version}}"]).output().context("no Docker engine answers")?;
    if on_path(&["mmdebstrap"]).is_none() {
        install("mmdebstrap", "which makes systems of packages")?;
    }
    for &kind in &args.only {
        let start = Instant::now();
        let image = make(kind)?;
        println!("images: {image}, {:.0} s", start.elapsed().as_secs_f64());
    }
    Ok(true)
}

fn make(kind: Kind) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("images are made on Debian")?;
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let release = release.context("/etc/os-release names no release")?.trim_matches('"');
    let folder = tempfile::Builder::new().prefix("stent-images-").tempdir()?;
    let (entrypoint, system) = (folder.path().join("entrypoint"), folder.path().join("system.tar"));
    write_program(&entrypoint, self::entrypoint(kind))?;

    let unread =
        ["doc", "man", "locale"].map(|unread| format!("--dpkgopt=path-exclude=/usr/share/{unread}/*"));
    // All containers would share a cluster in the image; each container creates its own.
    let no_cluster = "mkdir -p \"$1/etc/postgresql-common\" && echo 'create_main_cluster = false' > \
                      \"$1/etc/postgresql-common/createcluster.conf\"";
    quiet(
        &Command::new("mmdebstrap")
            .args(["--quiet", "--mode=root", "--variant=essential"])
            .args([format!("--include={}", kind.facts().debian_package)])
            .args(unread)
            .args([format!("--essential-hook={no_cluster}")])
            .args([format!("--customize-hook=install -m 755 '{}' \"$1{ENTRYPOINT}\"", entrypoint.display())])
            .args([release, text(&system)?])
            .args(SOURCES.iter().copied().filter(|sources| Path::new(sources).exists())),
    )?;
    let image = kind.facts().own_image;
    let changes = changes(kind).into_iter().flat_map(|change| ["--change".into(), change]);
    let import = docker(["import", "--message", "made by cargo xtask images"]).args(changes);
    quiet(&import.args([text(&system)?, image]))?;
    // Removes the image that had the name before, unless a container still uses it.
    docker(["image", "prune", "--force", "--filter", &format!("label={MADE_OF}={kind}")]).output()?;
    let size = docker(["image", "inspect", "--format", "{{.Size}}", image]).output()?;
    let megabytes = size.trim().parse::<u64>().context("a size is a number")? / 1_000_000;
    Ok(format!("{image}, {megabytes} MB"))
}

const fn entrypoint(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => include_str!("images/postgres.sh"),
        Kind::Redis => include_str!("images/redis.sh"),
    }
}

/// The settings of the official image of this kind, and a label of ours.
fn changes(kind: Kind) -> Vec<String> {
    let (command, data, own) = match kind {
        Kind::Postgres => ("postgres", "/var/lib/postgresql/data", "ENV PGDATA=/var/lib/postgresql/data"),
        Kind::Redis => ("redis-server", "/data", "WORKDIR /data"),
    };
    vec![
        format!(r#"ENTRYPOINT ["{ENTRYPOINT}"]"#),
        format!(r#"CMD ["{command}"]"#),
        format!("EXPOSE {}", kind.facts().port),
        format!("VOLUME {data}"),
        "ENV LANG=C.UTF-8".into(),
        format!("LABEL {MADE_OF}={kind}"),
        own.into(),
    ]
}

/// Runs a command whose output matters only when it fails.
fn quiet(command: &Command) -> Result<()> {
    println!("$ {command}");
    let mut lines = Vec::new();
    if command.stream(|line| lines.push(line.to_owned()))? {
        return Ok(());
    }
    bail!("`{command}` failed:\n{}", lines.join("\n"))
}

fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new("docker").args(args)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_of_itself_what_the_official_one_says() {
        let postgres = changes(Kind::Postgres);
        assert!(postgres.contains(&"EXPOSE 5432".to_owned()));
        assert!(postgres.contains(&r#"CMD ["postgres"]"#.to_owned()));
        assert!(changes(Kind::Redis).contains(&"WORKDIR /data".to_owned()));
    }

    #[test]
    fn an_entrypoint_knows_the_variables_of_the_official_image() {
        let script = entrypoint(Kind::Postgres);
        for variable in ["USER", "PASSWORD", "DB", "HOST_AUTH_METHOD", "INITDB_ARGS"] {
            assert!(script.contains(&format!("POSTGRES_{variable}")), "{variable}");
        }
        assert!(script.contains("PGDATA"));
    }
}
