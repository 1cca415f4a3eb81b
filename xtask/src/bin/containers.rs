//! Starts one container by testcontainers and keeps it until its standard input ends. Built only when a container is
//! wanted: xtask itself does without the crates that this needs.
//!
//! It gets the description of the container in the form of `container.rs`, and reports the start in the form of
//! `keep.rs`.

#[path = "../servers/container.rs"]
mod container;
#[path = "../servers/keep.rs"]
mod keep;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container as Running, GenericImage, ImageExt};

use self::container::{Container, Ready};

/// How long a server may take to be ready once its container runs. A file system in user space makes the first start of
/// a database slow.
const START_MAX: Duration = Duration::from_secs(120);

/// The size of the shared memory, which Postgres uses for its parallel workers. The default of containers, 64 MB, is
/// too small.
const SHARED_MEMORY: u64 = 256 << 20;

fn main() -> ExitCode {
    match keep::keep(start) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn start() -> Result<(u16, Running<GenericImage>)> {
    let json = std::env::var(container::VARIABLE)
        .with_context(|| format!("{} is not set; cargo xtask sets it", container::VARIABLE))?;
    let container: Container = serde_json::from_str(&json)?;
    let running = start_container(&container)?;
    let port = running.get_host_port_ipv4(container.port.tcp())?;
    ensure!(port != 0, "the port of {} is not published", container.image);
    Ok((port, running))
}

fn start_container(container: &Container) -> Result<Running<GenericImage>> {
    let (name, tag) = container.image.rsplit_once(':').context("the image has no tag")?;
    let ready = match &container.ready {
        Ready::Stdout(message) => WaitFor::message_on_stdout(message),
        Ready::Stderr(message) => WaitFor::message_on_stderr(message),
    };
    let request = GenericImage::new(name, tag)
        .with_wait_for(ready)
        .with_mapped_port(0, container.port.tcp())
        .with_shm_size(SHARED_MEMORY)
        .with_startup_timeout(START_MAX)
        .with_labels(container.labels.iter().map(|(name, value)| (name, value)))
        .with_cmd(&container.args)
        // Published to this machine, and not to its network.
        .with_host_config_modifier(|host| {
            let ports = host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut());
            for binding in ports.flatten().flatten() {
                binding.host_ip = Some("127.0.0.1".into());
            }
        });
    let request = container
        .environment
        .iter()
        .fold(request, |request, (name, value)| request.with_env_var(name.as_str(), value.as_str()));
    request.start().with_context(|| format!("cannot start a container of {}", container.image))
}
