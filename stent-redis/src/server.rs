//! The requirements on a server that keeps executions: version, role, durability and memory. Sends no commands and only reads
//! replies.

use std::collections::HashMap;

use stent_core::backend::{ErrorKind, Finding};

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
    /// The bytes in use, and the most that the server may use: by its setting, or else by its machine.
    memory: Option<(u64, u64)>,
    /// Whether the server is limited by its setting.
    has_limit: bool,
    /// Whether the last write to the append-only file, and its last rewrite, succeeded.
    writes_aof: bool,
    rewrites_aof: bool,
}

/// The shares of the memory from which on it is scarce, and nearly gone, in percent.
const MEMORY_SCARCE: u64 = 80;
const MEMORY_GONE: u64 = 95;

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
        let number = |name| said.get(name).and_then(|value| value.parse::<u64>().ok());
        let limit = number("maxmemory").filter(|limit| *limit > 0);
        Self {
            memory: number("used_memory").zip(limit.or_else(|| number("total_system_memory"))),
            has_limit: limit.is_some(),
            writes_aof: !matches!(text("aof_last_write_status"), "err"),
            rewrites_aof: !matches!(text("aof_last_bgrewrite_status"), "err"),
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

impl Facts {
    /// Findings about a server that was accepted when the store connected. Settings change while it runs.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        vec![self.role(), self.durability(), self.file(), self.eviction(), self.memory()]
    }

    fn role(&self) -> Finding {
        const CHECK: &str = "role";
        match &self.primary {
            None => Finding::ok(CHECK, format!("a primary of {}", self.product)),
            Some(primary) => Finding::problem(
                CHECK,
                format!("the server is a replica of {primary}, and takes no writes"),
                "name the primary in the URLs of workers",
            ),
        }
    }

    fn durability(&self) -> Finding {
        const CHECK: &str = "durability";
        match (self.has_aof, self.fsync.as_deref()) {
            (Some(true), Some("always")) => {
                Finding::ok(CHECK, "commits are on the disk (appendfsync always)")
            }
            (Some(true), fsync) => {
                let what = match fsync {
                    Some("everysec") => {
                        "a crash may lose the last two seconds of confirmed work (appendfsync everysec)"
                    }
                    Some(_) => {
                        "a crash of the machine may lose half a minute of confirmed work (appendfsync no)"
                    }
                    None => "this user may not read appendfsync, so what a crash may lose is not known",
                };
                Finding::warning(CHECK, what, "set appendfsync always to lose nothing")
            }
            (Some(false), _) => Finding::warning(
                CHECK,
                "the server keeps no append-only file: all executions are lost with its process",
                "set appendonly yes",
            ),
            (None, _) => Finding::warning(
                CHECK,
                "the server does not say whether it keeps an append-only file",
                "let the user run INFO",
            ),
        }
    }

    fn file(&self) -> Finding {
        const CHECK: &str = "append-only file";
        match (self.writes_aof, self.rewrites_aof) {
            (true, true) => Finding::ok(CHECK, "its last write and rewrite succeeded"),
            (false, _) => Finding::problem(
                CHECK,
                "its last write failed, so the server refuses writes or loses them in a crash",
                "see the server's log; often the disk is full",
            ),
            (true, false) => Finding::warning(
                CHECK,
                "its last rewrite failed, so it grows",
                "see the server's log; often memory for a fork, or space on the disk, is missing",
            ),
        }
    }

    fn eviction(&self) -> Finding {
        const CHECK: &str = "eviction";
        match self.eviction.as_deref() {
            Some("noeviction") => Finding::ok(CHECK, "the server evicts nothing"),
            Some(policy) => Finding::problem(
                CHECK,
                format!(
                    "the server evicts keys when its memory is full (maxmemory-policy {policy}): executions disappear"
                ),
                "set maxmemory-policy noeviction",
            ),
            None => Finding::warning(
                CHECK,
                "the server does not say whether it evicts keys",
                "make sure that maxmemory-policy is noeviction",
            ),
        }
    }

    fn memory(&self) -> Finding {
        const CHECK: &str = "memory";
        const MIB: u64 = 1024 * 1024;
        let Some((used, most)) = self.memory.filter(|(_, most)| *most > 0) else {
            return Finding::ok(CHECK, "the server does not say how much it uses");
        };
        let of = if self.has_limit { "maxmemory" } else { "the machine's memory" };
        let what = format!("{} of {} MiB are in use ({of})", used / MIB, most / MIB);
        let remedy =
            "delete what has ended (`stent cleanup`, or a retention), or give the server more memory";
        match u128::from(used) * 100 / u128::from(most) {
            share if share >= u128::from(MEMORY_GONE) => Finding::problem(CHECK, what, remedy),
            share if share >= u128::from(MEMORY_SCARCE) => Finding::warning(CHECK, what, remedy),
            _ => Finding::ok(CHECK, what),
        }
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
    fn each_setting_that_can_lose_work_is_a_finding_with_a_remedy() {
        use stent_core::backend::Verdict;
        let bad = |lines: &[(&str, &str)], fsync| -> Vec<(String, Verdict)> {
            let findings = facts(lines, fsync).findings().into_iter();
            let bad = findings.filter(|finding| finding.verdict != Verdict::Ok);
            bad.inspect(|finding| assert!(!finding.remedy.is_empty(), "{finding:?}"))
                .map(|finding| (finding.check, finding.verdict))
                .collect()
        };
        let one = |check: &str, verdict| vec![(check.to_owned(), verdict)];
        let always = Some("always");
        let memory = |used| [("used_memory", used), ("maxmemory", "1000"), ("total_system_memory", "9000")];
        assert_eq!(bad(&[], always), []);
        assert_eq!(bad(&memory("799"), always), []);
        assert_eq!(bad(&memory("800"), always), one("memory", Verdict::Warning));
        assert_eq!(bad(&memory("950"), always), one("memory", Verdict::Problem));
        let unlimited = [("used_memory", "8600"), ("maxmemory", "0"), ("total_system_memory", "9000")];
        assert_eq!(bad(&unlimited, always), one("memory", Verdict::Problem));
        for (line, fsync, check, verdict) in [
            (("role", "slave"), always, "role", Verdict::Problem),
            (("maxmemory_policy", "allkeys-lru"), always, "eviction", Verdict::Problem),
            (("maxmemory_policy", ""), always, "eviction", Verdict::Warning),
            (("aof_enabled", "0"), always, "durability", Verdict::Warning),
            (("aof_enabled", "1"), Some("everysec"), "durability", Verdict::Warning),
            (("aof_enabled", "1"), None, "durability", Verdict::Warning),
            (("aof_last_write_status", "err"), always, "append-only file", Verdict::Problem),
            (("aof_last_bgrewrite_status", "err"), always, "append-only file", Verdict::Warning),
        ] {
            assert_eq!(bad(&[line], fsync), one(check, verdict), "{line:?}");
        }
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
