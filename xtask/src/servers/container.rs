//! What a container is to be, as xtask tells it to the program that starts it. Shared by the two.

use serde::{Deserialize, Serialize};

/// The variable that holds a [`Container`] as JSON. There is a password in it, and everyone on the machine can read the
/// arguments of a program.
pub(crate) const VARIABLE: &str = "STENT_CONTAINER";

/// A server in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// The image, with its tag.
    pub(crate) image: String,
    /// The port that the server listens on inside.
    pub(crate) port: u16,
    /// What the server says once it is ready, on either stream.
    pub(crate) ready: Ready,
    pub(crate) environment: Vec<(String, String)>,
    /// What stands after the name of the image.
    pub(crate) args: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ready {
    Stdout(String),
    Stderr(String),
}
