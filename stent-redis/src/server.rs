//! The requirements on a server that keeps executions: version, role and durability. Sends no commands and only reads replies.

use std::collections::HashMap;

use stent_core::backend::ErrorKind;

use crate::options::Durability;

/// The oldest version of Redis that has all commands of the scripts.
const REDIS_MIN: (u32, u32) = (6, 2);

/// A server, as its replies to `INFO` and `CONFIG GET` describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `Redis 7.0.15` or `Valkey 9.1.2`.
    product: String,
    /// The version of Redis, or the version of Redis that another product is compatible with.
    version: Option<(u32, u32)>,
    is_valkey: bool,
    /// `host:port` of the primary, if the server is a replica.
    primary: Option<String>,
    mode: String,
    is_cluster: bool,
    is_loading: bool,
    /// `None` if the server does not report it.
    has_aof: Option<bool>,
    eviction: Option<String>,
    /// `None` if the user may not read the configuration.
    fsync: Option<String>,
}

/// The reason for refusing a server, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl Facts {
    /// Reads the reply to `INFO` and, if the user may run it, the reply to `CONFIG GET appendfsync`.
    pub(crate) fn read(info: &str, config: Option<&HashMap<String, String>>) -> Self {
        let said: HashMap<_, _> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let flag = |name| said.get(name).map(|value| *value == "1");
        let text = |name| said.get(name).copied().unwrap_or_default();
        let is_valkey = said.contains_key("valkey_version") || text("server_name") == "valkey";
        let product = match said.get("valkey_version") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", text("redis_version")),
        };
        let primary =
            (text("role") == "slave").then(|| format!("{}:{}", text("master_host"), text("master_port")));
        Self {
            product,
            version: version(text("redis_version")),
            is_valkey,
            primary,
            mode: text("redis_mode").to_owned(),
            is_cluster: flag("cluster_enabled").unwrap_or(false) || text("redis_mode") == "cluster",
            is_loading: flag("loading").unwrap_or(false),
            has_aof: flag("aof_enabled"),
            eviction: said.get("maxmemory_policy").map(|policy| (*policy).to_owned()),
            fsync: config.and_then(|config| config.get("appendfsync").cloned()),
        }
    }

    /// Refuses a server that cannot run the scripts now. Applies to stores and to hints.
    pub(crate) fn check_service(&self, server: &str, wants_cluster: bool) -> Result<(), Refusal> {
        let refused = |kind, message: String| Err(Refusal { kind, message });
        if self.is_loading {
            return refused(
                ErrorKind::Unavailable,
                format!("{server} is loading its data after a start; it will answer soon"),
            );
        }
        if self.mode == "sentinel" {
            return refused(
                ErrorKind::Config,
                format!("{server} is a sentinel and stores nothing; name the primary that it watches"),
            );
        }
        if !self.is_valkey && self.version.is_none_or(|version| version < REDIS_MIN) {
            let (major, minor) = REDIS_MIN;
            return refused(
                ErrorKind::Config,
                format!(
                    "{server} runs {}, which is too old; use Redis {major}.{minor} or newer, or Valkey",
                    self.product
                ),
            );
        }
        if let Some(primary) = &self.primary {
            return refused(
                ErrorKind::Config,
                format!(
                    "{server} is a replica of {primary} and takes no writes; name the primary in the URL"
                ),
            );
        }
        if self.is_cluster && !wants_cluster {
            return refused(
                ErrorKind::Config,
                format!("{server} is a node of a cluster; add cluster=true to the URL"),
            );
        }
        Ok(())
    }

    /// Refuses a server that may lose executions in a way that the options do not allow. Returns a warning if an accepted server
    /// may still lose confirmed work.
    pub(crate) fn check_durability(
        &self,
        server: &str,
        durability: Durability,
    ) -> Result<Option<String>, Refusal> {
        let refused = |message: String| Err(Refusal { kind: ErrorKind::Config, message });
        match self.eviction.as_deref() {
            None | Some("noeviction") => {}
            Some(policy) => {
                return refused(format!(
                    "{server} evicts keys when its memory is full (maxmemory-policy {policy}), so executions would \
                     disappear; set maxmemory-policy noeviction on the server"
                ));
            }
        }
        if durability == Durability::None {
            return Ok(None);
        }
        match self.has_aof {
            Some(true) => {}
            Some(false) => {
                return refused(format!(
                    "{server} keeps no append-only file (appendonly no), so its executions would be lost with its \
                     process; set appendonly yes on the server, or accept the loss with durability=none in the URL"
                ));
            }
            None => {
                return refused(format!(
                    "{server} does not say whether it keeps an append-only file; let the user run INFO, or accept the \
                     loss of all executions with durability=none in the URL"
                ));
            }
        }
        let mut doubts = Vec::new();
        match self.fsync.as_deref() {
            Some("always") => {}
            Some("everysec") => doubts.push(
                "its append-only file reaches the disk once a second (appendfsync everysec): a crash may lose \
                 the last two seconds of confirmed work; set appendfsync always to lose nothing"
                    .to_owned(),
            ),
            Some(other) => doubts.push(format!(
                "the operating system decides when its append-only file reaches the disk (appendfsync {other}): a \
                 crash of the machine may lose half a minute of confirmed work; set appendfsync always to lose nothing"
            )),
            None => doubts.push(
                "this user may not read appendfsync, so what a crash of the machine may lose is not known; allow \
                 config|get, and set appendfsync always to lose nothing"
                    .to_owned(),
            ),
        }
        if self.eviction.is_none() {
            doubts.push(
                "it does not say whether it evicts keys; make sure that maxmemory-policy is noeviction"
                    .to_owned(),
            );
        }
        Ok((!doubts.is_empty()).then(|| doubts.join("; ")))
    }
}

/// Returns the first two numbers of a version such as `7.0.15`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "cache:6379/0";

    fn info(lines: &[(&str, &str)]) -> String {
        let base = [
            ("redis_version", "7.0.15"),
            ("redis_mode", "standalone"),
            ("role", "master"),
            ("loading", "0"),
            ("aof_enabled", "1"),
            ("maxmemory_policy", "noeviction"),
            ("cluster_enabled", "0"),
        ];
        let kept = base.iter().filter(|(name, _)| lines.iter().all(|(changed, _)| changed != name));
        let lines = kept.chain(lines).filter(|(_, value)| !value.is_empty());
        let lines: String = lines.map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        format!("# Server\r\n{lines}\r\n")
    }

    fn facts(lines: &[(&str, &str)], fsync: Option<&str>) -> Facts {
        let config = fsync.map(|value| HashMap::from([("appendfsync".to_owned(), value.to_owned())]));
        Facts::read(&info(lines), config.as_ref())
    }

    fn service(lines: &[(&str, &str)]) -> Result<(), (ErrorKind, String)> {
        facts(lines, Some("always"))
            .check_service(SERVER, false)
            .map_err(|refusal| (refusal.kind, refusal.message))
    }

    fn durability(
        lines: &[(&str, &str)],
        fsync: Option<&str>,
        wanted: Durability,
    ) -> Result<Option<String>, String> {
        facts(lines, fsync).check_durability(SERVER, wanted).map_err(|refusal| {
            assert_eq!(refusal.kind, ErrorKind::Config);
            refusal.message
        })
    }

    #[test]
    fn a_primary_that_writes_always_is_taken_without_a_word() {
        assert_eq!(service(&[]), Ok(()));
        assert_eq!(durability(&[], Some("always"), Durability::Aof), Ok(None));
    }

    #[test]
    fn old_versions_are_refused_by_name() {
        let old = "cache:6379/0 runs Redis 6.0.16, which is too old; use Redis 6.2 or newer, or Valkey";
        assert_eq!(service(&[("redis_version", "6.0.16")]), Err((ErrorKind::Config, old.to_owned())));
        assert!(service(&[("redis_version", "")]).is_err());
        for version in ["6.2.0", "7.4.1", "8.0.0", "10.2.1"] {
            assert_eq!(service(&[("redis_version", version)]), Ok(()), "{version}");
        }
    }

    #[test]
    fn valkey_is_known_by_its_name() {
        let lines = [("redis_version", "7.2.4"), ("server_name", "valkey"), ("valkey_version", "9.1.2")];
        assert_eq!(service(&lines), Ok(()));
        assert_eq!(facts(&lines, None).product, "Valkey 9.1.2");
    }

    #[test]
    fn a_replica_is_refused_and_its_primary_named() {
        let lines = [("role", "slave"), ("master_host", "10.0.0.7"), ("master_port", "6380")];
        let said =
            "cache:6379/0 is a replica of 10.0.0.7:6380 and takes no writes; name the primary in the URL"
                .to_owned();
        assert_eq!(service(&lines), Err((ErrorKind::Config, said)));
    }

    #[test]
    fn a_server_that_loads_is_waited_for() {
        let said = "cache:6379/0 is loading its data after a start; it will answer soon".to_owned();
        assert_eq!(service(&[("loading", "1")]), Err((ErrorKind::Unavailable, said)));
    }

    #[test]
    fn nodes_of_clusters_and_sentinels_are_refused() {
        let said = "cache:6379/0 is a node of a cluster; add cluster=true to the URL".to_owned();
        let node = [("redis_mode", "cluster"), ("cluster_enabled", "1")];
        assert_eq!(service(&node), Err((ErrorKind::Config, said)));
        assert_eq!(facts(&node, None).check_service(SERVER, true), Ok(()));

        let said =
            "cache:6379/0 is a sentinel and stores nothing; name the primary that it watches".to_owned();
        assert_eq!(service(&[("redis_mode", "sentinel")]), Err((ErrorKind::Config, said)));
    }

    #[test]
    fn eviction_is_refused_whatever_the_durability() {
        let said = "cache:6379/0 evicts keys when its memory is full (maxmemory-policy allkeys-lru), so executions \
                    would disappear; set maxmemory-policy noeviction on the server";
        for wanted in [Durability::Aof, Durability::None] {
            let refused = durability(&[("maxmemory_policy", "allkeys-lru")], Some("always"), wanted);
            assert_eq!(refused, Err(said.to_owned()), "{wanted:?}");
        }
    }

    #[test]
    fn a_server_without_a_file_is_refused_unless_that_is_asked_for() {
        let said = "cache:6379/0 keeps no append-only file (appendonly no), so its executions would be lost with its \
                    process; set appendonly yes on the server, or accept the loss with durability=none in the URL";
        let lines = [("aof_enabled", "0")];
        assert_eq!(durability(&lines, Some("always"), Durability::Aof), Err(said.to_owned()));
        assert_eq!(durability(&lines, Some("always"), Durability::None), Ok(None));

        let said = "cache:6379/0 does not say whether it keeps an append-only file; let the user run INFO, or accept \
                    the loss of all executions with durability=none in the URL";
        assert_eq!(durability(&[("aof_enabled", "")], None, Durability::Aof), Err(said.to_owned()));
    }

    #[test]
    fn a_warning_says_what_a_crash_may_lose() {
        for (fsync, said) in [
            (
                Some("everysec"),
                "its append-only file reaches the disk once a second (appendfsync everysec): a crash may \
                 lose the last two seconds of confirmed work; set appendfsync always to lose nothing",
            ),
            (
                Some("no"),
                "the operating system decides when its append-only file reaches the disk (appendfsync no): a crash of \
                 the machine may lose half a minute of confirmed work; set appendfsync always to lose nothing",
            ),
            (
                None,
                "this user may not read appendfsync, so what a crash of the machine may lose is not known; allow \
                 config|get, and set appendfsync always to lose nothing",
            ),
        ] {
            assert_eq!(durability(&[], fsync, Durability::Aof), Ok(Some(said.to_owned())));
            assert_eq!(durability(&[], fsync, Durability::None), Ok(None), "what may be lost is not counted");
        }
        let said = "it does not say whether it evicts keys; make sure that maxmemory-policy is noeviction";
        let hosted = durability(&[("maxmemory_policy", "")], Some("always"), Durability::Aof);
        assert_eq!(hosted, Ok(Some(said.to_owned())));
    }
}
