//! `--servers`: which way to a server the command line asks for.

use std::str::FromStr;

use super::kind::Kind;

/// A way to a server, or all of them in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Whatever is there, in the order of the help.
    #[default]
    Auto,
    /// A container.
    Docker,
    /// The programs of this machine, installed first where that is possible.
    Local,
    /// One that runs already. Kinds that it is not are found as by `Auto`.
    At { kind: Kind, url: String },
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "local" => Ok(Self::Local),
            url => Kind::of_url(url)
                .map(|kind| Self::At { kind, url: url.into() })
                .ok_or_else(|| format!("{text:?} is none of auto, docker, local, postgres://…, redis://…")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_urls_are_told_apart() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("docker".parse(), Ok(Choice::Docker));
        let url = "redis://127.0.0.1:6379";
        assert_eq!(url.parse(), Ok(Choice::At { kind: Kind::Redis, url: url.into() }));
        assert!("dcoker".parse::<Choice>().is_err());
        assert!("mysql://a".parse::<Choice>().is_err());
    }
}
