//! `cargo xtask compose`: runs `deploy/compose.yaml` as a user would, with images that are on this machine, and kills a worker
//! in the middle of an order. The image of the service is the last stage of `deploy/Dockerfile` around a program that was built
//! here, because the stage before it needs a registry.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::command::{Command, root};
use crate::servers::{Kind, docker_image};

const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");

/// The first line of the stage that becomes the image.
const RUNTIME: &str = "FROM ${RUNTIME_IMAGE} AS runtime";

/// What that stage takes from the stage that builds, and what it takes here.
const BUILT: [&str; 2] = ["COPY --from=build /out/ /", "COPY out/ /"];

/// The base of the service's image.
const BASE: &str = "debian:bookworm-slim";

/// The variable that names another base.
const BASE_VARIABLE: &str = "STENT_RUNTIME_IMAGE";

const WORKERS: [&str; 2] = ["worker-1", "worker-2"];

/// The longest wait for anything: a lease (30 s) and an order, on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs deploy/compose.yaml: two workers on Postgres, one of which is killed during an order; needs Docker
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cargo xtask images --only postgres && cargo xtask compose")]
pub(crate) struct Args {
    /// The service, if it is built already; else it is built first
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let postgres = docker_image(Kind::Postgres).context("compose needs Docker and an image of Postgres")?;
    let compose = compose_program()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let program = args.program.clone().map_or_else(build, |program| Ok(program.canonicalize()?))?;
    let name = format!("stent-compose-{}", std::process::id());
    let project = Project { image: format!("{name}:latest"), name, compose, postgres, interrupted };
    make_image(&program, &project.image)?;
    let outcome = project.test();
    if outcome.is_err() {
        project.compose(["logs", "--no-color", "--tail", "40"]).shown()?;
    }
    outcome?;
    println!("compose: ok");
    Ok(true)
}

/// `docker compose`, or the program of its own that it was before.
fn compose_program() -> Result<Vec<String>> {
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        let output = std::process::Command::new(words[0]).args(&words[1..]).arg("version").output();
        if output.is_ok_and(|output| output.status.success()) {
            return Ok(words.iter().map(|&word| word.into()).collect());
        }
    }
    bail!("neither `docker compose` nor `docker-compose` is here: install the package docker-compose")
}

fn build() -> Result<PathBuf> {
    let build = ["build", "--package", "service", "--features", "postgres", "--bin", "service"];
    let mut programs = Command::cargo(build).programs()?.into_iter();
    let service = programs.find(|(artifact, _)| artifact.target.name == "service");
    Ok(service.context("cargo built no program named service")?.1)
}

/// The last stage of the Dockerfile, which takes what was built from a folder.
fn runtime_stage(dockerfile: &str) -> Result<String> {
    let (_, stage) = dockerfile.split_once(RUNTIME).context("deploy/Dockerfile has a stage `runtime`")?;
    ensure!(stage.contains(BUILT[0]), "the stage `runtime` of deploy/Dockerfile has `{}`", BUILT[0]);
    Ok(format!("ARG RUNTIME_IMAGE\n{RUNTIME}{}", stage.replace(BUILT[0], BUILT[1])))
}

fn make_image(program: &Path, image: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = folder.path().join("out/usr/local/bin");
    fs::create_dir_all(&programs)?;
    fs::copy(program, programs.join("service"))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    fs::write(folder.path().join("Dockerfile"), runtime_stage(DOCKERFILE)?)?;
    // Made by `cargo xtask images` of the packages of this machine: it has the C library that the program was built with.
    let own = Kind::Postgres.facts().own_image;
    let present = |image: &&str| Command::new("docker").args(["image", "ls", "-q", image]).output();
    let base = match std::env::var(BASE_VARIABLE) {
        Ok(base) if !base.is_empty() => base,
        _ if present(&BASE)?.is_empty() && !present(&own)?.is_empty() => own.into(),
        _ => BASE.into(),
    };
    let build = Command::new("docker")
        .args(["build", "--quiet", "--build-arg", &format!("RUNTIME_IMAGE={base}"), "--tag", image, "."])
        .folder(folder.path());
    ensure!(build.shown()?, "the image of the service was not built; {BASE_VARIABLE} names another base");
    Ok(())
}

/// A compose project, which is taken down with its volumes when this is dropped.
#[derive(Debug)]
struct Project {
    name: String,
    compose: Vec<String>,
    postgres: String,
    image: String,
    interrupted: Arc<AtomicBool>,
}

impl Project {
    fn test(&self) -> Result<()> {
        self.up()?;
        let order = json!({ "number": "A-1", "items": ["bell", "saddle"] });
        let [first, second] = [self.port(WORKERS[0])?, self.port(WORKERS[1])?];
        let link = self.take(first, &order)?;
        self.pay(second, "A-1")?;
        let receipt = self.until_shipped(second, &link)?;
        println!("compose: an order was taken by {}, and is complete: {receipt}", WORKERS[0]);

        // While the other is paused, this one has the order for certain.
        let items: Vec<_> = (0..8).map(|n| format!("item {n}")).collect();
        let [one, other] = [self.container(WORKERS[0])?, self.container(WORKERS[1])?];
        docker(["pause", &other])?;
        let link = self.take(first, &json!({ "number": "A-2", "items": items }))?;
        self.pay(first, "A-2")?;
        self.until("the second order is being packed", || {
            let (_, order) = http(first, "GET", &link, None)?;
            Ok(order["progress"].to_string().contains("packed item 0").then_some(()))
        })?;
        docker(["kill", &one])?;
        docker(["unpause", &other])?;
        let (_, order) = http(second, "GET", &link, None)?;
        ensure!(order["receipt"].is_null(), "the worker was killed too late, the order is complete: {order}");
        println!("compose: {} was killed during an order: {}", WORKERS[0], order["progress"]);
        let receipt = self.until_shipped(second, &link)?;
        let parcels = receipt["parcels"].as_array().map_or(0, Vec::len);
        ensure!(parcels == items.len(), "each item is one parcel: {receipt}");
        println!("compose: {} completed the order", WORKERS[1]);

        self.up()?;
        ensure!(self.compose(["stop"]).shown()?, "the project does not stop");
        for service in WORKERS.into_iter().chain(["postgres"]) {
            let code = docker(["inspect", "--format", "{{.State.ExitCode}}", &self.container(service)?])?;
            println!("compose: {service} ended with {code} on its stop signal");
            ensure!(code == "0", "{service} ended with {code}, and not with 0");
        }
        Ok(())
    }

    /// Starts what does not run, and waits until all are healthy.
    fn up(&self) -> Result<()> {
        ensure!(self.compose(["up", "--detach", "--no-build"]).shown()?, "the project does not start");
        for service in WORKERS.into_iter().chain(["postgres"]) {
            let container = self.container(service)?;
            self.until(&format!("{service} is healthy"), || {
                let health = docker(["inspect", "--format", "{{.State.Health.Status}}", &container])?;
                Ok((health == "healthy").then_some(()))
            })?;
        }
        Ok(())
    }

    /// Posts an order, and returns the link to its status.
    fn take(&self, port: u16, order: &Value) -> Result<String> {
        let (code, links) = http(port, "POST", "/orders", Some(order))?;
        ensure!(code == 202, "an order was answered with {code}: {links}");
        Ok(links["status"].as_str().context("an order has a link to its status")?.to_owned())
    }

    fn pay(&self, port: u16, number: &str) -> Result<()> {
        let payment = json!({ "order": number, "accepted": true });
        let (code, answer) = http(port, "POST", "/webhooks/payment", Some(&payment))?;
        ensure!(code == 202, "a payment was answered with {code}: {answer}");
        Ok(())
    }

    fn until_shipped(&self, port: u16, link: &str) -> Result<Value> {
        self.until(&format!("{link} is shipped"), || {
            let (_, order) = http(port, "GET", link, None)?;
            Ok((order["receipt"]["outcome"] == "shipped").then(|| order["receipt"].clone()))
        })
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
            if let Some(seen) = look()? {
                return Ok(seen);
            }
            ensure!(start.elapsed() < WAIT_MAX, "not within {} s: {what}", WAIT_MAX.as_secs());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The port of this machine through which a service is reached, which is open to this machine only.
    fn port(&self, service: &str) -> Result<u16> {
        let address = self.compose(["port", service, "8080"]).output()?;
        let port = address.trim().strip_prefix("127.0.0.1:").with_context(|| {
            format!("{service} is published at {}, and not on loopback only", address.trim())
        })?;
        Ok(port.parse()?)
    }

    fn container(&self, service: &str) -> Result<String> {
        // By label: `compose ps` of new versions leaves out what has ended.
        let [project, service] = [("project", self.name.as_str()), ("service", service)]
            .map(|(label, value)| format!("label=com.docker.compose.{label}={value}"));
        let id = docker(["ps", "--all", "--quiet", "--filter", &project, "--filter", &service])?;
        ensure!(!id.is_empty(), "no container has {service}");
        Ok(id)
    }

    fn compose<const N: usize>(&self, args: [&str; N]) -> Command {
        let file = root().join("deploy/compose.yaml").display().to_string();
        Command::new(&self.compose[0])
            .args(&self.compose[1..])
            .args(["-p", &self.name, "-f", &file])
            .args(args)
            .env("POSTGRES_IMAGE", &self.postgres)
            .env("SERVICE_IMAGE", &self.image)
            // Any free port.
            .env("WORKER_1_PORT", "0")
            .env("WORKER_2_PORT", "0")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Whatever fails here is shown by the command itself. The containers may be paused, and are killed anyway.
        drop(self.compose(["down", "--volumes", "--timeout", "1"]).shown());
        drop(Command::new("docker").args(["image", "rm", "--force", &self.image]).output());
    }
}

/// Runs a command of Docker, and returns what it printed.
fn docker<const N: usize>(args: [&str; N]) -> Result<String> {
    Ok(Command::new("docker").args(args).output()?.trim().to_owned())
}

/// One request to a service on loopback: its status code, and its body.
fn http(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("a service accepts no connection")?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = "Host: localhost\r\nContent-Type: application/json\r\nConnection: close";
    write!(stream, "{method} {path} HTTP/1.0\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let code = head.split(' ').nth(1).context("an answer has a status code")?.parse()?;
    Ok((code, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_of_the_service_is_the_last_stage_of_the_dockerfile() {
        let stage = runtime_stage(DOCKERFILE).expect("the stage is there");
        assert!(!stage.contains("--from=build") && !stage.contains("cargo build"), "{stage}");
        assert!(stage.contains("ENTRYPOINT") && stage.contains("USER 10001"), "{stage}");
        assert!(runtime_stage("FROM scratch").is_err());
    }
}
