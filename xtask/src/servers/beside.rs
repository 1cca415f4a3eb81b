//! Programs that some tests start for themselves, whatever server the others are given: a pooler, and a server that is stopped
//! and started again. Sees to it that they are here; starts none.

use std::env;
use std::path::{Path, PathBuf};

use super::kind::Kind;
use super::{debian, local};

/// Where Debian has the pooler; not everybody's PATH leads there.
const DEBIAN: &str = "/usr/sbin";

/// What names the pooler, where it is not the one that is found.
const PGBOUNCER_VARIABLE: &str = "STENT_PGBOUNCER";

/// Installs what is missing, where that can be done, and says so. Where it cannot, that is said too, and the tests which start
/// the program will fail.
pub(crate) fn programs_for_tests() {
    let has_postgres = local::programs(Kind::Postgres).is_some();
    let programs = [
        ("pgbouncer", "pgbouncer", has_pgbouncer()),
        ("postgres", Kind::Postgres.facts().debian_package, has_postgres),
    ];
    for (program, package, is_here) in programs {
        if is_here {
            continue;
        }
        let installed = debian::can_install().and_then(|()| {
            eprintln!(
                "{program}: installing package {package} for tests that start it; no service of it is started"
            );
            debian::install(package)
        });
        if let Err(error) = installed {
            eprintln!("{}", missing(program, package, &format!("{error:#}")));
        }
    }
}

fn has_pgbouncer() -> bool {
    let named = env::var_os(PGBOUNCER_VARIABLE).map(PathBuf::from);
    named.is_some()
        || Path::new(DEBIAN).join("pgbouncer").is_file()
        || local::on_path(&["pgbouncer"]).is_some()
}

fn missing(program: &str, package: &str, why: &str) -> String {
    format!(
        "{program}: not here, and package {package} cannot be installed ({why}): the tests that start it will fail"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_a_program_is_told_what_will_fail_and_why() {
        let told = missing("pgbouncer", "pgbouncer", "not root");
        assert_eq!(
            told,
            "pgbouncer: not here, and package pgbouncer cannot be installed (not root): the tests that start it will fail"
        );
    }
}
