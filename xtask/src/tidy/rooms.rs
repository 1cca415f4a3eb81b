//! Checks that imports between the rooms of `stent` point down, and name the module in which a thing is defined.
//!
//! A room is a module that `stent/src/lib.rs` declares, with its content. The list below has all rooms; an import may only
//! lead to a room further down. Code that hides the target of an import is a finding, too: another name for the root of
//! the crate, `include!`, and `#[path]`.
//!
//! Code that is compiled for tests only is exempt: a unit test may start a whole `Stent` to check one part of it, and
//! users' builds do not have that import. Exported macros, which are used elsewhere, and links in documentation are
//! exempt, too.

use std::collections::BTreeMap;

use super::Finding;
use super::checkout::File;
use super::source::{self, Path, What};

const ROOT: &str = "stent/src/lib.rs";

/// The rooms from top to bottom. Rooms in one line are siblings: neither may import the other.
const ROOMS: &[&[&str]] = &[
    // The facade: for users and the macros only.
    &["prelude", "testing", "view", "units", "backend", "http", "__private"],
    &["functions"],
    &["stent"],
    // Executions from outside, and the loop that runs durable code. Both know the API of that code, and not each other.
    &["execution", "worker"],
    &["durable"],
    &["engine"],
    &["function"],
    // Leaves.
    &["trace"],
    &["metrics"],
    &["names"],
    &["error"],
];

const TABLE: &str = "xtask/src/tidy/rooms.rs";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    judge(files, ROOMS)
}

fn judge(files: &[File], rooms: &[&[&str]]) -> Vec<Finding> {
    let found = source::of_crate(ROOT, files);
    let shipped = || found.iter().filter(|found| found.is_shipped);
    let declared =
        shipped().filter(|found| found.module.is_empty()).filter_map(|found| match &found.piece.what {
            What::Module { name, .. } => Some((name.as_str(), found.piece.line)),
            _ => None,
        });
    let declared: BTreeMap<_, _> = declared.collect();
    let mut findings = unplaced(&declared, rooms);
    for place in shipped() {
        let (what, remedy) = match &place.piece.what {
            What::Path(path) => {
                let Some(bad) = bad_path(&place.module, path, &declared, rooms) else { continue };
                bad
            }
            What::Attribute { name, value: Some(path) } if name == "path" => {
                // The root and the rooms' own files are in one folder: only there, no path leads into another room.
                if place.file.path == ROOT && !path.contains('/') {
                    continue;
                }
                (
                    format!("`#[path = \"{path}\"]` hides in which room a file is"),
                    "name the file as its module",
                )
            }
            _ => continue,
        };
        findings.push(Finding::new(&place.file.path, what, remedy).at(place.piece.line));
    }
    findings.sort_by(|a, b| (&a.path, a.line, &a.what).cmp(&(&b.path, b.line, &b.what)));
    findings.dedup();
    findings
}

/// Rooms that are missing in the list, and rooms of the list that do not exist.
fn unplaced(declared: &BTreeMap<&str, usize>, rooms: &[&[&str]]) -> Vec<Finding> {
    let listed = || rooms.iter().copied().flatten();
    let new = declared.iter().filter(|(room, _)| listed().all(|known| known != *room)).map(|(room, line)| {
        let remedy = format!("say in {TABLE} and in ARCHITECTURE.md which rooms it may import");
        Finding::new(ROOT, format!("`{room}` is none of the rooms"), remedy).at(*line)
    });
    let gone = listed().filter(|room| !declared.contains_key(**room));
    let gone = gone.map(|room| Finding::new(TABLE, format!("there is no room `{room}`"), "take it out"));
    new.chain(gone).collect()
}

/// The fault of a path in the module `from`, if it has one, and the remedy.
fn bad_path(
    from: &[String],
    path: &Path,
    declared: &BTreeMap<&str, usize>,
    rooms: &[&[&str]],
) -> Option<(String, &'static str)> {
    let text = path.text();
    let is_std = || path.names.len() == 2 && ["std", "core"].contains(&path.names[0].as_str());
    if path.names.last().is_some_and(|name| name == "include") && (path.is_macro || is_std()) {
        let remedy = "make it a module, and import from it";
        return Some(("`include!` brings in code of another file".into(), remedy));
    }
    // Without it, `::stent` is no name for this crate.
    if text == "extern crate" {
        return Some(("`extern crate` gives a crate another name".into(), "name it as Cargo.toml does"));
    }
    let through_crate = "name the module through `crate::`";
    let to = full(from, &path.names)?;
    let Some(first) = to.first() else {
        let alias = path.alias.as_ref()?;
        let what = format!("`{text}` is the root of the crate, and is called `{alias}` here");
        return Some((what, through_crate));
    };
    if first == "$" {
        let what = format!("which room `{text}` leads to depends on the use of a macro");
        return Some((what, through_crate));
    }
    // The root exports from every room, and an exported macro is at the root, wherever it is defined.
    let own = from.first().filter(|_| !path.is_macro || to.len() > 1)?;
    if !declared.contains_key(first.as_str()) {
        let what = format!("`crate::{first}` is imported from the root of the crate");
        return Some((what, "give it a room if it has none, and import it from where it is defined"));
    }
    let floor = |room: &str| rooms.iter().position(|rooms| rooms.contains(&room));
    let (here, there) = (floor(own)?, floor(first)?);
    let place = if here == there { "beside" } else { "above" };
    let what = format!("{own} imports `{}`, and {first} is {place} it", to.join("::"));
    let remedy = "move what both need to a room below, or hand it in as a value; xtask/src/tidy/rooms.rs has the rooms";
    (own != first && here >= there).then_some((what, remedy))
}

/// The target of a path, from the crate's root; `None` if the path begins neither there nor at an enclosing module.
fn full(from: &[String], names: &[String]) -> Option<Vec<String>> {
    let rest = names.strip_prefix(&["self".to_owned()]).unwrap_or(names);
    let supers = rest.iter().take_while(|name| *name == "super").count();
    match names[0].as_str() {
        "crate" => Some(names[1..].to_vec()),
        "self" | "super" => Some([&from[..from.len().saturating_sub(supers)], &rest[supers..]].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: &[&[&str]] = &[&["facade"], &["left", "right"], &["base"]];

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        let bare = ["facade", "left", "right", "base"].map(|room| (format!("stent/src/{room}.rs"), ""));
        let bare = bare.iter().map(|(path, text)| (path.as_str(), *text));
        let root = (
            ROOT,
            "mod facade; mod left; mod right;\nmod base;\npub use base::{Error, thing::{self, Thing}};",
        );
        let others = bare.chain([root]).filter(|(path, _)| files.iter().all(|(own, _)| own != path));
        let files: Vec<_> =
            files.iter().copied().chain(others).map(|(path, text)| File::new(path, text)).collect();
        let told =
            |finding: Finding| format!("{}:{}: {}", finding.path, finding.line.unwrap_or(0), finding.what);
        judge(&files, HOUSE).into_iter().map(told).collect()
    }

    /// The findings in the module `base::deep`, without their location.
    fn in_deep(text: &str) -> Vec<String> {
        let found = whats(&[("stent/src/base.rs", "mod deep;"), ("stent/src/base/deep.rs", text)]);
        let place = "stent/src/base/deep.rs:1: ";
        found.into_iter().map(|what| what.strip_prefix(place).map_or(what.clone(), str::to_owned)).collect()
    }

    const UP: &str = "base imports `left::Thing`, and left is above it";

    #[test]
    fn arrows_down_pass_however_they_are_written() {
        let left = "use crate::base::Thing;\nuse super::base;\nmod own { use super::super::base::x; use super::y; }\n\
                    fn f(own: own::Y) -> crate::base::Thing { crate::left::g(std::mem::take(own)) }";
        assert_eq!(whats(&[("stent/src/left.rs", left)]), [""; 0]);
        for fine in [
            "pub(super) fn f() {} pub(crate) use super as base; use super::deep as me; use ::std::fs;",
            "fn g(self) { T::<u8>::stent(); self.g(self::y, super::z) } use self::super::super::base::x;",
            "#[serde(rename_all = \"snake_case\", default = \"crate::base::x\")] #[expect(dead_code, reason = \"crate::left::Thing\")] struct S;",
            "fn f() { include_str!(\"../x\"); include != 1 }",
        ] {
            assert_eq!(in_deep(fine), [""; 0], "{fine}");
        }
    }

    #[test]
    fn an_arrow_up_is_found_however_it_is_written() {
        for text in [
            "use crate::{left::Thing};",
            "use super::super::left::Thing as T;",
            "fn f() -> crate::left::Thing {}",
            "fn f() { use crate::left::Thing; }",
            "fn f() { println!(\"{}\", crate::left::Thing) }",
            "fn f() { mod own { use super::super::super::left::Thing; } }",
            "mod own { fn f(_: super::super::super::left::Thing) {} }",
            "macro_rules! m { () => { $crate::left::Thing } }",
            "macro_rules! m { () => { use $crate::{left::Thing}; } }",
            "use self::super::super::{left::Thing};",
            "fn f(_: self::super::super::left::Thing) {}",
            "use crate::r#left::r#Thing;",
            "#[derive(crate::left::Thing)] struct S;",
            "#[serde(default, with = \"crate::left::Thing\")] struct S;",
            "#[cfg_attr(unix, serde(bound(serialize = \"T: super::super::left::Thing\")))] struct S;",
            "#[other(with = \"crate::left::Thing\")] struct S;",
        ] {
            assert_eq!(in_deep(text), [UP], "{text}");
        }
        let lines = whats(&[("stent/src/base.rs", "fn f() {\n    use crate::left::*;\n}")]);
        assert_eq!(lines, ["stent/src/base.rs:2: base imports `left::*`, and left is above it"]);
        let beside = whats(&[("stent/src/left.rs", "use crate::right::Thing;")]);
        assert_eq!(beside, ["stent/src/left.rs:1: left imports `right::Thing`, and right is beside it"]);
    }

    #[test]
    fn another_name_for_the_root_is_found() {
        let called = |text, alias| format!("`{text}` is the root of the crate, and is called `{alias}` here");
        let external = || "`extern crate` gives a crate another name".to_owned();
        for (text, what) in [
            ("use crate as root;", called("crate", "root")),
            ("use crate::{self as root};", called("crate", "root")),
            ("use super::super as up;", called("super::super", "up")),
            ("use self::super::super as up;", called("self::super::super", "up")),
            ("use super::{super::{self as up}};", called("super::super", "up")),
            ("fn f() { use crate as root; }", called("crate", "root")),
            ("macro_rules! m { () => { use $crate as root; } }", called("crate", "root")),
            ("extern crate self as stent;", external()),
            ("fn f() { extern crate stent as other; }", external()),
        ] {
            assert_eq!(in_deep(text), [what], "{text}");
        }
        let root = "extern crate self as stent;\nmod facade; mod left; mod right; mod base; use left::Thing;";
        assert_eq!(whats(&[(ROOT, root)]), [format!("{ROOT}:1: {}", external())]);
    }

    #[test]
    fn code_that_hides_where_it_comes_from_is_found() {
        for (text, path) in [
            ("macro_rules! m { ($a:ident) => { crate::$a::Thing } }", "crate::$::Thing"),
            ("macro_rules! m { ($a:ident) => { use super::super::$a; } }", "super::super::$"),
            ("macro_rules! m { ($a:ident) => { use crate::{$a}; } }", "crate::$"),
        ] {
            let what = format!("which room `{path}` leads to depends on the use of a macro");
            assert_eq!(in_deep(text), [what], "{text}");
        }
        for text in
            ["include!(\"../left/port.rs\");", "fn f() { std::include! { \"x\" } }", "use std::include as i;"]
        {
            assert_eq!(in_deep(text), ["`include!` brings in code of another file"], "{text}");
        }
        let path = "`#[path = \"../left/port.rs\"]` hides in which room a file is";
        for text in [
            "#[path = \"../left/port.rs\"] mod port;",
            "#[cfg_attr(unix, path = \"../left/port.rs\")] mod port;",
            "mod own { #[path = \"../left/port.rs\"] mod port; }",
            "fn f() { #[path = \"../left/port.rs\"] mod port; }",
        ] {
            assert_eq!(in_deep(text), [path], "{text}");
        }
        let root = |path| format!("mod facade; mod left; mod right; #[path = \"{path}\"] mod base;");
        assert_eq!(whats(&[(ROOT, &root("private.rs"))]), [""; 0]);
        assert_eq!(whats(&[(ROOT, &root("left/p.rs"))]).len(), 1);
    }

    #[test]
    fn a_name_of_the_root_is_found() {
        let found = whats(&[("stent/src/left.rs", "use crate::{Error, Thing};\nuse super::Foreign;")]);
        let at_root = |line, name| {
            format!("stent/src/left.rs:{line}: `crate::{name}` is imported from the root of the crate")
        };
        assert_eq!(found, [at_root(1, "Error"), at_root(1, "Thing"), at_root(2, "Foreign")]);
    }

    #[test]
    fn a_room_that_nobody_has_placed_and_one_that_is_gone_are_found() {
        let lib = "mod facade;\nmod left;\nmod right;\nmod cellar;\n#[cfg(test)]\nmod names_of_the_root;";
        let expected = [
            "stent/src/lib.rs:4: `cellar` is none of the rooms",
            "xtask/src/tidy/rooms.rs:0: there is no room `base`",
        ];
        assert_eq!(whats(&[(ROOT, lib)]), expected);
    }

    #[test]
    fn tests_documentation_and_exported_macros_are_exempt() {
        let base = "//! [`Thing`](crate::left::Thing)\n#[cfg(test)]\nmod tests { use crate::left::Thing; }\n\
                    #[cfg(test)]\nuse crate::left::Thing;\nstruct S;\n\
                    impl S {\n #[cfg(test)]\n fn f() -> crate::left::Thing {} }\n\
                    #[macro_export]\nmacro_rules! m { () => { $crate::left::Thing } }\nfn f() { crate::m!() }";
        assert_eq!(whats(&[("stent/src/base.rs", base)]), [""; 0]);
    }
}
