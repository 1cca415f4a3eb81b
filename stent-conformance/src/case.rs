//! One claim about a store, and the list of all of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::guarantee::Guarantee;
use crate::model;
use crate::world::World;

/// A named claim about a store, and the code that checks it.
#[derive(Clone)]
pub struct Case {
    name: String,
    guarantee: Guarantee,
    body: Body,
}

/// Runs a case in its world; panics when the claim does not hold.
pub(crate) type Script = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Script(Script),
    Model { seed: u64 },
}

/// A case as the files under `cases/` list it.
pub(crate) struct Listed {
    pub(crate) name: &'static str,
    pub(crate) guarantee: Guarantee,
    pub(crate) script: Script,
}

/// Lists the cases of one area by guarantee and name.
macro_rules! list {
    ($area:ident: $($guarantee:ident $name:ident,)+) => {
        pub(super) const CASES: &[$crate::case::Listed] = &[$($crate::case::Listed {
            name: concat!(stringify!($area), "::", stringify!($name)),
            guarantee: $crate::guarantee::Guarantee::$guarantee,
            script: |world| Box::pin($name(world)),
        }),+];
    };
}
pub(crate) use list;

impl Case {
    /// Area and claim: `fence::stale_epoch_changes_nothing`. Names do not change between releases.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The claim in words: the name with spaces. `docs/semantics.md` lists the same words under the case's guarantee.
    #[must_use]
    pub fn claim(&self) -> String {
        self.name.replace("::", ": ").replace('_', " ")
    }

    /// The guarantee that the case checks.
    #[must_use]
    pub const fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    pub(crate) const fn body(&self) -> Body {
        self.body
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case([{}] {})", self.guarantee, self.name)
    }
}

/// Every case, by area: first the handwritten ones, then as many seeds of the model as `STENT_SEEDS` says.
#[must_use]
pub fn cases() -> Vec<Case> {
    let written = crate::cases::AREAS.iter().flat_map(|area| area.iter()).map(|listed| Case {
        name: listed.name.to_owned(),
        guarantee: listed.guarantee,
        body: Body::Script(listed.script),
    });
    let drawn = (0..model::seeds()).map(|seed| Case {
        name: format!("model::agrees_with_memory_seed_{seed}"),
        guarantee: Guarantee::G1,
        body: Body::Model { seed },
    });
    written.chain(drawn).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::{env, fs};

    use super::*;

    /// If set, the tests here write the files that they compare.
    const BLESS: &str = "STENT_BLESS";

    /// The names of the cases. Reports and settings of other projects use these names, so every change of a name changes this
    /// list.
    const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases.txt");

    const SEMANTICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/semantics.md");

    /// The tests generate the part of the page between these two lines.
    const BEGIN: &str = "<!-- cases: made by the tests of stent-conformance -->\n";
    const END: &str = "<!-- end of cases -->\n";

    /// Columns of the page.
    const WIDTH: usize = 120;

    /// Every case; all seeds of the model count as one.
    fn listed() -> Vec<(Guarantee, String)> {
        let written = crate::cases::AREAS.iter().flat_map(|area| area.iter());
        let written = written.map(|listed| (listed.guarantee, listed.name.to_owned()));
        written.chain([(Guarantee::G1, "model::agrees_with_memory_seed_*".to_owned())]).collect()
    }

    #[track_caller]
    fn expect_file(path: &str, expected: &str) {
        if env::var_os(BLESS).is_some() {
            fs::write(path, expected).expect("the file is written");
        }
        let actual = fs::read_to_string(path).unwrap_or_default();
        let differs = actual.lines().zip(expected.lines()).find(|(actual, expected)| actual != expected);
        assert!(
            actual == expected,
            "{path} is not up to date ({differs:?}); if the change is meant: \
             {BLESS}=1 cargo test -p stent-conformance --lib case::"
        );
    }

    #[test]
    fn names_stay_as_they_are() {
        let mut names: Vec<_> =
            listed().into_iter().map(|(guarantee, name)| format!("{guarantee:<3} {name}\n")).collect();
        names.sort_by(|one, other| one[4..].cmp(&other[4..]));
        expect_file(LIST, &names.concat());
    }

    #[test]
    fn no_two_cases_have_one_name() {
        let mut names: Vec<_> = listed().into_iter().map(|(_, name)| name).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }

    #[test]
    fn the_page_says_what_each_guarantee_is_checked_by() {
        let page = fs::read_to_string(SEMANTICS).expect("the page is there");
        let (before, rest) = page.split_once(BEGIN).expect("the page says where the cases begin");
        let (_, after) = rest.split_once(END).expect("the page says where the cases end");
        expect_file(SEMANTICS, &[before, BEGIN, &checked(), END, after].concat());
    }

    #[test]
    fn every_guarantee_is_written_down_and_has_cases() {
        let page = fs::read_to_string(SEMANTICS).expect("the page is there");
        for guarantee in Guarantee::ALL {
            assert!(
                page.contains(&format!("\n## {guarantee} ")),
                "{guarantee} is not written down in {SEMANTICS}"
            );
            assert!(listed().iter().any(|(checked, _)| checked == guarantee), "no case checks {guarantee}");
        }
        let is_promise = |line: &&str| {
            line.strip_prefix("## G").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        assert_eq!(
            page.lines().filter(is_promise).count(),
            Guarantee::ALL.len(),
            "{SEMANTICS} promises something else"
        );
    }

    /// The claims in words, by guarantee and area.
    fn checked() -> String {
        let mut by_guarantee: BTreeMap<_, Vec<(String, Vec<String>)>> = BTreeMap::new();
        for (guarantee, name) in listed() {
            let (area, claim) = name.split_once("::").expect("an area and a claim");
            let (area, claim) = (area.replace('_', " "), claim.replace('_', " "));
            let areas = by_guarantee.entry(guarantee).or_default();
            match areas.iter_mut().find(|(known, _)| *known == area) {
                Some((_, claims)) => claims.push(claim),
                None => areas.push((area, vec![claim])),
            }
        }
        let mut text = String::new();
        for (guarantee, areas) in by_guarantee {
            let count: usize = areas.iter().map(|(_, claims)| claims.len()).sum();
            text.push_str(&format!("\n## Checked for {guarantee}\n\n{count} cases.\n\n"));
            for (area, claims) in areas {
                text.push_str(&wrapped(&format!("- **{area}**: {}.", claims.join("; "))));
            }
        }
        text + "\n"
    }

    /// Wraps a list entry to the width of the page.
    fn wrapped(entry: &str) -> String {
        let (mut text, mut column) = (String::new(), 0);
        for word in entry.split(' ') {
            if column > 0 && column + 1 + word.len() > WIDTH {
                text.push_str("\n  ");
                column = 2;
            } else if column > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += word.len();
        }
        text + "\n"
    }
}
