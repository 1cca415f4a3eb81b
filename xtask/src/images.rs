//! `cargo xtask images`: images of servers for machines that reach no registry, made of the packages that this machine's
//! own apt configuration names. What they understand is what the official images understand.

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use self::sources::Sources;
use crate::command::Command;
use crate::servers::{Kind, debian, is_root, local};

/// Makes images of Postgres and Redis for machines without a registry; needs root, Docker and Debian
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  cargo xtask images && cargo xtask conformance --backend postgres --servers docker"
)]
pub(crate) struct Args {
    /// Which images, with commas between them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "postgres,redis")]
    only: Vec<Kind>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let sources = Sources::of_this_machine()?;
    ensure!(is_root(), "images are made in a folder that one changes root into: run this as root");
    docker(["version", "--format", "{{.Server.Version}}"]).output().context("no Docker engine answers")?;
    if local::on_path(&["debootstrap"]).is_none() {
        println!("images: installing package debootstrap, which makes systems in a folder");
        debian::install("debootstrap")?;
    }

    let start = Instant::now();
    let folder = tempfile::Builder::new().prefix("stent-images-").tempdir()?;
    let base = folder.path().join("base");
    make_base(&base, &sources)?;
    println!("images: the system without servers took {:.0} s", start.elapsed().as_secs_f64());
    for &kind in &args.only {
        let start = Instant::now();
        let root = folder.path().join(kind.name());
        shown("cp", &["--archive", text(&base)?, text(&root)?])?;
        let image = make_image(kind, &root)?;
        println!("images: {image}, {:.0} s more", start.elapsed().as_secs_f64());
        fs::remove_dir_all(root)?;
    }
    Ok(true)
}

/// What runs before the server in a container.
const fn entrypoint(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => include_str!("images/postgres.sh"),
        Kind::Redis => include_str!("images/redis.sh"),
    }
}

/// Where the entrypoint lies in an image.
const ENTRYPOINT: &str = "usr/local/bin/stent-entrypoint";

/// What no container reads: a third of what is installed.
const UNREAD: &[&str] =
    &["var/lib/apt/lists", "var/cache", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale"];

/// A system without servers, with the security updates of this machine's own sources.
fn make_base(root: &Path, sources: &Sources) -> Result<()> {
    let archive = &sources.archive;
    let components = format!("--components={}", archive.components.join(","));
    // What it mounts is seen by itself only, and goes with it, also when it is killed.
    let debootstrap = ["--mount", "debootstrap", "--variant=minbase", &components];
    let what = [&archive.suite, text(root)?, &archive.mirror];
    shown("unshare", &[&debootstrap[..], &what].concat())?;

    fs::write(root.join("etc/apt/sources.list"), sources.lines())?;
    // Its packages come from the same places as this machine's, by the same names.
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))?;
    write_program(&root.join("usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n")?;
    inside(root, &["apt-get", "update", "-qq"])?;
    inside(root, &["apt-get", "upgrade", "-y", "-qq"])
}

fn make_image(kind: Kind, root: &Path) -> Result<String> {
    // A cluster in the image would be everybody's; each container makes its own.
    let no_cluster = root.join("etc/postgresql-common");
    fs::create_dir_all(&no_cluster)?;
    fs::write(no_cluster.join("createcluster.conf"), "create_main_cluster = false\n")?;
    inside(
        root,
        &["apt-get", "install", "-y", "-qq", "--no-install-recommends", kind.facts().debian_package],
    )?;

    write_program(&root.join(ENTRYPOINT), entrypoint(kind))?;
    for unread in UNREAD {
        empty(&root.join(unread))?;
    }
    let image = kind.facts().own_image;
    import(root, &changes(kind), image)?;
    // The one that had the name before. A container that still runs of it keeps it.
    docker(["image", "prune", "--force", "--filter", &format!("label={MADE_OF}={kind}")]).output()?;
    let size = docker(["image", "inspect", "--format", "{{.Size}}", image]).output()?;
    let megabytes = size.trim().parse::<u64>().context("a size is a number")? / 1_000_000;
    Ok(format!("{image}, {megabytes} MB"))
}

/// The label of images that are made here.
const MADE_OF: &str = "dev.stent.image";

/// What the official image of this kind says of itself, and a label of ours.
fn changes(kind: Kind) -> Vec<String> {
    let (command, data) = match kind {
        Kind::Postgres => ("postgres", "/var/lib/postgresql/data"),
        Kind::Redis => ("redis-server", "/data"),
    };
    let mut changes = vec![
        format!(r#"ENTRYPOINT ["/{ENTRYPOINT}"]"#),
        format!(r#"CMD ["{command}"]"#),
        format!("EXPOSE {}", kind.facts().port),
        format!("VOLUME {data}"),
        "ENV LANG=C.UTF-8".into(),
        format!("LABEL {MADE_OF}={kind}"),
    ];
    match kind {
        Kind::Postgres => changes.push(format!("ENV PGDATA={data}")),
        Kind::Redis => changes.push(format!("WORKDIR {data}")),
    }
    changes
}

/// Hands a folder to the engine as an image.
fn import(root: &Path, changes: &[String], image: &str) -> Result<()> {
    let mut import = Process::new("docker");
    import.args(["import", "--message", "made by cargo xtask images"]);
    import.args(changes.iter().flat_map(|change| ["--change", change]));
    println!("$ tar -C {} -c . | docker import - {image}", root.display());
    let mut tar = Process::new("tar")
        .args(["--numeric-owner", "-C", text(root)?, "-c", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tar")?;
    let packed = tar.stdout.take().context("stdout was piped")?;
    let imported = import.args(["-", image]).stdin(packed).stdout(Stdio::null()).status();
    let (packed, imported) = (tar.wait()?, imported.context("cannot start docker")?);
    ensure!(packed.success(), "tar failed with {packed}");
    ensure!(imported.success(), "docker import failed with {imported}");
    Ok(())
}

/// Runs a program with `root` as its root.
fn inside(root: &Path, command: &[&str]) -> Result<()> {
    let root = text(root)?;
    let environment = ["/usr/bin/env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];
    shown("chroot", &[&[root], &environment[..], command].concat())
}

/// Runs a program whose output matters only when it fails.
fn shown(program: &str, args: &[&str]) -> Result<()> {
    let command = Command::new(program).args(args.iter().copied());
    println!("$ {command}");
    let mut lines = Vec::new();
    if command.stream_all(|line| lines.push(line.to_owned()))? {
        return Ok(());
    }
    bail!("`{command}` failed:\n{}", lines.join("\n"))
}

fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new("docker").args(args)
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// Removes what is in a folder, and leaves the folder.
fn empty(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path: PathBuf = entry?.path();
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
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
        for variable in [
            "POSTGRES_USER",
            "POSTGRES_PASSWORD",
            "POSTGRES_DB",
            "POSTGRES_HOST_AUTH_METHOD",
            "POSTGRES_INITDB_ARGS",
            "PGDATA",
        ] {
            assert!(script.contains(variable), "{variable}");
        }
    }

    #[test]
    fn a_folder_is_emptied_and_stays() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        fs::create_dir_all(folder.path().join("a/b")).expect("the folder is ours");
        fs::write(folder.path().join("c"), "").expect("the folder is ours");

        empty(folder.path()).expect("the folder is ours");

        assert_eq!(fs::read_dir(folder.path()).expect("it stays").count(), 0);
        assert!(empty(&folder.path().join("nowhere")).is_ok());
    }
}
