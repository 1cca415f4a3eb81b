//! The backends of this workspace, by the names that the command line uses.

use std::fmt;
use std::str::FromStr;

/// A backend that the conformance suite certifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The executable specification.
    Memory,
    /// The default store.
    Sqlite,
    /// The store of many machines.
    Postgres,
    /// The store of those who run Redis.
    Redis,
}

impl Backend {
    /// All of them, the specification first: a failure there explains failures elsewhere.
    pub(crate) const ALL: &'static [Self] = &[Self::Memory, Self::Sqlite, Self::Postgres, Self::Redis];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// The crate that holds it.
    pub(crate) fn package(self) -> String {
        format!("stent-{}", self.name())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A list of backends from the command line: names with commas between them, or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backends(pub(crate) Vec<Backend>);

impl FromStr for Backends {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut chosen = Vec::new();
        for name in text.split(',').map(str::trim) {
            let more = if name == "all" { Backend::ALL.to_vec() } else { vec![parse(name)?] };
            chosen.extend(more);
        }
        // In the order of ALL and each once, however they were named.
        Ok(Self(Backend::ALL.iter().copied().filter(|backend| chosen.contains(backend)).collect()))
    }
}

fn parse(name: &str) -> Result<Backend, String> {
    let known = || Backend::ALL.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", ");
    let found = Backend::ALL.iter().copied().find(|backend| backend.name() == name);
    found.ok_or_else(|| format!("there is no backend {name:?}; there are {}, all", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_all_are_taken_once_each_in_a_fixed_order() {
        assert_eq!("sqlite,memory,sqlite".parse(), Ok(Backends(vec![Backend::Memory, Backend::Sqlite])));
        assert_eq!("all".parse(), Ok(Backends(Backend::ALL.to_vec())));
        assert_eq!(" sqlite".parse(), Ok(Backends(vec![Backend::Sqlite])));
        let error = "memory,mysql".parse::<Backends>().expect_err("mysql is no backend");
        assert_eq!(error, "there is no backend \"mysql\"; there are memory, sqlite, postgres, redis, all");
        assert!("".parse::<Backends>().is_err());
    }
}
