//! Where this machine's packages come from, as apt itself reads its configuration. Only the sources of the distribution
//! count; what else the machine installs from is no business of an image.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::command::Command;

/// Where packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    /// The release itself, which a system is first made of.
    pub(super) archive: Source,
    /// Its updates, those for security among them.
    updates: Vec<Source>,
}

/// One suite of one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) mirror: String,
    pub(super) suite: String,
    pub(super) components: Vec<String>,
}

impl Sources {
    /// Asks apt.
    ///
    /// # Errors
    ///
    /// When this is no Debian, or its apt knows no mirror of its own release.
    pub(super) fn of_this_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("images are made on Debian")?;
        let release = value(&release, "VERSION_CODENAME").context("/etc/os-release names no release")?;
        // Of sources that were never read, apt does not tell. One that cannot be read now may be none of the release.
        Command::new("apt-get").args(["update", "-qq"]).run()?;
        let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
        let targets = Command::new("apt-get")
            .args(["indextargets", "--format", format, "Identifier: Packages"])
            .output()?;
        Self::of(release, sources(&targets))
    }

    fn of(release: &str, all: Vec<Source>) -> Result<Self> {
        let archive = all.iter().find(|source| source.suite == release && source.has_main()).cloned();
        let archive = archive.with_context(|| format!("apt knows no mirror of {release}"))?;
        ensure!(archive.mirror.starts_with("http"), "debootstrap cannot read {}", archive.mirror);
        let is_update = |source: &Source| {
            let rest = source.suite.strip_prefix(release);
            source.has_main() && matches!(rest, Some("-updates" | "-security" | "/updates"))
        };
        let updates = all.into_iter().filter(is_update).collect();
        Ok(Self { archive, updates })
    }

    /// As `sources.list` has it.
    pub(super) fn lines(&self) -> String {
        let line = |source: &Source| {
            format!("deb {} {} {}\n", source.mirror, source.suite, source.components.join(" "))
        };
        [&self.archive].into_iter().chain(&self.updates).map(line).collect()
    }
}

impl Source {
    fn has_main(&self) -> bool {
        self.components.iter().any(|component| component == "main")
    }
}

/// Reads a line for each component of each suite: `http://deb.debian.org/debian/ bookworm main`.
fn sources(targets: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for line in targets.lines() {
        let [mirror, suite, component] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let mirror = resolved(mirror);
        let known = sources.iter_mut().find(|source| source.mirror == mirror && source.suite == suite);
        if let Some(known) = known {
            known.components.push(component.into());
        } else {
            sources.push(Source { mirror, suite: suite.into(), components: vec![component.into()] });
        }
    }
    sources
}

/// A mirror that is one: images of clouds name a file with a list of them.
fn resolved(mirror: &str) -> String {
    let file = mirror.strip_prefix("mirror+file:").map(|file| file.trim_end_matches('/'));
    let list = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    list.split_whitespace().next().unwrap_or(mirror).to_owned()
}

/// The value of `NAME=value` or `NAME="value"`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_and_its_updates_count() {
        let targets = "http://cloud cloud-sdk-bookworm main\nhttp://a bookworm main\nhttp://a bookworm contrib\n\
                       http://a bookworm-backports main\nhttp://flat ./\nhttp://s bookworm-security main\n";

        let found = Sources::of("bookworm", sources(targets)).expect("the release is there");

        assert_eq!(found.archive.components, ["main", "contrib"]);
        assert_eq!(
            found.lines(),
            "deb http://a bookworm main contrib\ndeb http://s bookworm-security main\n"
        );
    }

    #[test]
    fn a_file_of_mirrors_is_read() {
        let list = tempfile::NamedTempFile::new().expect("there is room for a file");
        fs::write(&list, "http://a\nhttp://b\n").expect("the file is ours");
        assert_eq!(resolved(&format!("mirror+file:{}/", list.path().display())), "http://a");
        assert_eq!(resolved("mirror+file:/nowhere"), "mirror+file:/nowhere");
    }

    #[test]
    fn a_machine_without_a_mirror_of_its_release_is_told() {
        let error = Sources::of("trixie", sources("http://a bookworm main"));
        assert_eq!(error.expect_err("not there").to_string(), "apt knows no mirror of trixie");
        let file = Sources::of("trixie", sources("cdrom:[x] trixie main"));
        assert!(file.expect_err("not http").to_string().contains("debootstrap cannot read"));
    }

    #[test]
    fn the_release_is_read_with_and_without_quotes() {
        assert_eq!(value("ID=debian\nVERSION_CODENAME=bookworm\n", "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(value("VERSION_CODENAME=\"noble\"", "VERSION_CODENAME"), Some("noble"));
        assert_eq!(value("ID=x", "VERSION_CODENAME"), None);
    }
}
