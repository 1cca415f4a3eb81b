//! The servers that backends under test talk to: found or started before the tests, gone after them.
//!
//! No backend needs one yet. One that does is given an address here, and its tests read it from the environment;
//! nothing else in this crate has to know how the server came to be.

use crate::backends::Backend;

/// Servers that run for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Servers {
    environment: Vec<(String, String)>,
}

impl Servers {
    /// Sees to it that every server which `backends` need is running.
    pub(crate) fn start(backends: &[Backend]) -> Self {
        let environment = backends.iter().flat_map(|backend| match backend {
            // Both live in the process of the test.
            Backend::Memory | Backend::Sqlite => [],
            // Its tests are told by whoever runs them: STENT_POSTGRES_URL.
            Backend::Postgres => [],
        });
        Self { environment: environment.collect() }
    }

    /// What tests find the servers by.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// One line for people.
    pub(crate) fn describe(&self) -> String {
        if self.environment.is_empty() {
            return "servers: none needed, every backend runs in the process of its test".into();
        }
        let named: Vec<_> = self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("servers: {}", named.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_backend_needs_a_server_yet() {
        let servers = Servers::start(Backend::ALL);
        assert_eq!(servers.environment(), []);
        assert!(servers.describe().contains("none needed"));
    }
}
