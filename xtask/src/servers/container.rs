//! The description of a container, which xtask passes to the program that starts it. Both include this file.

use serde::{Deserialize, Serialize};

/// The environment variable with a [`Container`] as JSON. It contains a password, and everyone on the machine can read
/// the arguments of a program.
pub(crate) const VARIABLE: &str = "STENT_CONTAINER";

/// A server in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// The image, with its tag.
    pub(crate) image: String,
    /// The port that the server listens on inside.
    pub(crate) port: u16,
    /// The server's message once it is ready, on either stream.
    pub(crate) ready: Ready,
    pub(crate) environment: Vec<(String, String)>,
    /// The arguments after the name of the image.
    pub(crate) args: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ready {
    Stdout(String),
    Stderr(String),
}
