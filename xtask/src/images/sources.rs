//! The machine's own apt configuration: where its packages come from, in both formats that apt reads. Only the sources of
//! the distribution count; what else the machine installs from is no business of an image.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

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
    /// Reads `/etc/apt`.
    ///
    /// # Errors
    ///
    /// When this is no Debian, or names no mirror of its own release.
    pub(super) fn of_this_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("images are made on Debian")?;
        let release = value(&release, "VERSION_CODENAME").context("/etc/os-release names no release")?;
        let mut all = Vec::new();
        for file in files(Path::new("/etc/apt"))? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            all.extend(if file.extension().is_some_and(|extension| extension == "sources") {
                stanzas(&text)
            } else {
                lines(&text)
            });
        }
        Self::of(release, all.into_iter().map(Source::resolved).collect())
    }

    fn of(release: &str, all: Vec<Source>) -> Result<Self> {
        let archive = all.iter().find(|source| source.suite == release && source.has_main()).cloned();
        let archive = archive.with_context(|| format!("/etc/apt names no mirror of {release}"))?;
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

    /// With a mirror that is one: images of clouds name a file with a list of them.
    fn resolved(mut self) -> Self {
        let list = self.mirror.strip_prefix("mirror+file:").and_then(|file| fs::read_to_string(file).ok());
        if let Some(mirror) = list.as_deref().and_then(|list| list.split_whitespace().next()) {
            self.mirror = mirror.to_owned();
        }
        self
    }
}

/// `sources.list`, and all that is in the folder beside it, in the order of their names.
fn files(apt: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = vec![apt.join("sources.list")];
    let folder = apt.join("sources.list.d");
    if folder.is_dir() {
        let entries: std::io::Result<Vec<_>> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
        let mut entries = entries?;
        entries.retain(|file| {
            file.extension().is_some_and(|extension| extension == "list" || extension == "sources")
        });
        entries.sort();
        files.extend(entries);
    }
    files.retain(|file| file.is_file());
    Ok(files)
}

/// `deb [signed-by=…] http://deb.debian.org/debian bookworm main contrib`
fn lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with(char::is_whitespace)) else {
            continue;
        };
        let rest = rest.trim_start();
        let rest =
            if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, rest)| rest) } else { rest };
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (Some(mirror), Some(suite)) = (words.next(), words.next()) {
            sources.push(Source { mirror, suite, components: words.collect() });
        }
    }
    sources
}

/// The format of deb822: stanzas of fields, whose values may go on in lines that begin with a space.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields = BTreeMap::<String, Vec<String>>::new();
    let mut last = String::new();
    // An empty line ends a stanza, and so does the end.
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(of_stanza(&std::mem::take(&mut fields)));
            continue;
        }
        let value = if line.starts_with(char::is_whitespace) {
            line
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            last = name.to_ascii_lowercase();
            value
        };
        fields.entry(last.clone()).or_default().extend(value.split_whitespace().map(str::to_owned));
    }
    sources
}

fn of_stanza(fields: &BTreeMap<String, Vec<String>>) -> Vec<Source> {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let off = field("enabled").first().is_some_and(|enabled| enabled.eq_ignore_ascii_case("no"));
    if off || !field("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let suites = field("suites");
    let of_mirror = |mirror: String| {
        let components = field("components");
        suites.clone().into_iter().map(move |suite| Source {
            mirror: mirror.clone(),
            suite,
            components: components.clone(),
        })
    };
    field("uris").into_iter().flat_map(of_mirror).collect()
}

/// The value of `NAME=value` or `NAME="value"`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(mirror: &str, suite: &str, components: &[&str]) -> Source {
        let components = components.iter().map(|component| (*component).to_owned()).collect();
        Source { mirror: mirror.into(), suite: suite.into(), components }
    }

    #[test]
    fn lines_are_read_with_and_without_options() {
        let text = "# deb http://no bookworm main\ndeb http://a/debian bookworm main contrib # note\n\
                    deb-src http://a/debian bookworm main\ndeb [arch=amd64 signed-by=/k] http://b x main\ndeb\n";
        let expected =
            [source("http://a/debian", "bookworm", &["main", "contrib"]), source("http://b", "x", &["main"])];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn stanzas_are_read_with_all_their_suites() {
        let text = "Types: deb deb-src\n# note\nURIs: http://a/debian\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By: /k\n\n\nTypes: deb\nURIs: http://b\nSuites: x\nEnabled: no\n\n\
                    types: deb\nuris: http://c\nsuites: y\ncomponents: main";
        let expected = [
            source("http://a/debian", "bookworm", &["main"]),
            source("http://a/debian", "bookworm-updates", &["main"]),
            source("http://c", "y", &["main"]),
        ];
        assert_eq!(stanzas(text), expected);
    }

    #[test]
    fn only_the_release_and_its_updates_count() {
        let all = vec![
            source("http://cloud", "cloud-sdk-bookworm", &["main"]),
            source("http://a", "bookworm", &["main"]),
            source("http://a", "bookworm-backports", &["main"]),
            source("http://s", "bookworm-security", &["main"]),
        ];

        let sources = Sources::of("bookworm", all).expect("the release is there");

        assert_eq!(sources.archive, source("http://a", "bookworm", &["main"]));
        assert_eq!(sources.lines(), "deb http://a bookworm main\ndeb http://s bookworm-security main\n");
    }

    #[test]
    fn a_machine_without_a_mirror_of_its_release_is_told() {
        let error = Sources::of("trixie", vec![source("http://a", "bookworm", &["main"])]);
        assert_eq!(error.expect_err("not there").to_string(), "/etc/apt names no mirror of trixie");
        let file = Sources::of("trixie", vec![source("cdrom:[x]", "trixie", &["main"])]);
        assert!(file.expect_err("not http").to_string().contains("debootstrap cannot read"));
    }

    #[test]
    fn the_release_is_read_with_and_without_quotes() {
        assert_eq!(value("ID=debian\nVERSION_CODENAME=bookworm\n", "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(value("VERSION_CODENAME=\"noble\"", "VERSION_CODENAME"), Some("noble"));
        assert_eq!(value("ID=x", "VERSION_CODENAME"), None);
    }
}
