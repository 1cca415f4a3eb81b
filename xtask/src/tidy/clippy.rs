//! Clippy takes the nearest clippy.toml and merges nothing, so core's own repeats the root's, entry by entry.

use toml::{Table, Value};

use super::Finding;
use super::checkout::File;

const ROOT: &str = "clippy.toml";
const CORE: &str = "stent-core/clippy.toml";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let read = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        let table = file.and_then(|file| file.text.parse::<Table>().ok());
        table.ok_or_else(|| Finding::new(path, "it is missing or no TOML", "write it again"))
    };
    match (read(ROOT), read(CORE)) {
        (Ok(root), Ok(core)) => not_repeated(&root, &core),
        (root, core) => [root.err(), core.err()].into_iter().flatten().collect(),
    }
}

fn not_repeated(root: &Table, core: &Table) -> Vec<Finding> {
    let differs = |(key, value): (&String, &Value)| match (value, core.get(key)) {
        (Value::Array(ours), Some(Value::Array(theirs))) => {
            ours.iter().find(|entry| !theirs.contains(entry)).map(|entry| format!("{key}: {entry}"))
        }
        (ours, theirs) => (theirs != Some(ours)).then(|| format!("{key} = {ours}")),
    };
    let missing = root.iter().filter_map(differs);
    missing
        .map(|entry| Finding::new(CORE, format!("it lacks `{entry}`"), format!("repeat it from {ROOT}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "a = true\nbanned = [{ path = \"x\", reason = \"r\" }]\n";

    fn whats(root: &str, core: &str) -> Vec<String> {
        let files = [File::new(ROOT, root), File::new(CORE, core)];
        check(&files).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn core_may_say_more_than_the_root() {
        let more = "a = true\nbanned = [{ path = \"y\" }, { path = \"x\", reason = \"r\" }]\nb = 1\n";
        assert_eq!(whats(SHARED, more), [""; 0]);
    }

    #[test]
    fn an_entry_that_core_lacks_is_found() {
        assert_eq!(
            whats(SHARED, "a = false\nbanned = [{ path = \"x\", reason = \"r\" }]"),
            ["it lacks `a = true`"]
        );
        let found = whats(SHARED, "a = true\nbanned = []");
        assert!(found.len() == 1 && found[0].starts_with("it lacks `banned: {"), "{found:?}");
        assert_eq!(whats(SHARED, "").len(), 2);
    }

    #[test]
    fn a_file_that_is_not_there_is_found() {
        assert_eq!(check(&[File::new(ROOT, SHARED)]).len(), 1);
        assert_eq!(check(&[]).len(), 2);
    }
}
