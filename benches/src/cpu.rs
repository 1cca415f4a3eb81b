//! The processor time of processes, from `/proc`. Elsewhere than on Linux there is none.

use std::time::Duration;

/// A process, by the fields of its `stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    parent: u32,
    /// Its own time and that of its children that have ended, user and system, in ticks.
    ticks: u64,
}

/// The time of a process and of all its descendants, those that have ended included.
pub(crate) fn of_tree(root: u32) -> Option<Duration> {
    let processes = processes()?;
    processes.iter().find(|process| process.id == root)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks(&processes, root) as f64 / per_second as f64))
}

/// The parent of a process, if both have this name.
pub(crate) fn parent_named(id: u32, name: &str) -> Option<u32> {
    let of = |id: u32| std::fs::read_to_string(format!("/proc/{id}/stat")).ok();
    let (child, parent) = (of(id)?, parse(&of(id)?)?.parent);
    let named = |stat: &str| stat.contains(&format!("({name})"));
    (named(&child) && named(&of(parent)?)).then_some(parent)
}

fn processes() -> Option<Vec<Process>> {
    let entries = std::fs::read_dir("/proc").ok()?;
    // A process may end between the listing and the reading.
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    Some(entries.filter_map(Result::ok).filter_map(stat).filter_map(|stat| parse(&stat)).collect())
}

fn parse(stat: &str) -> Option<Process> {
    // The name is in brackets and may contain anything, brackets and spaces included.
    let (before, after) = (stat.split_once(' ')?.0, stat.rsplit_once(')')?.1);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    // After the name: state, parent, and from the twelfth on utime, stime, cutime, cstime.
    let ticks = (11..15).map(number).sum::<Option<u64>>()?;
    Some(Process { id: before.parse().ok()?, parent: fields.get(1)?.parse().ok()?, ticks })
}

fn ticks(processes: &[Process], root: u32) -> u64 {
    let of = |id: u32| processes.iter().filter(move |process| process.id == id);
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let children = processes.iter().filter(|process| process.parent == parent);
        let new: Vec<_> = children.map(|child| child.id).filter(|id| !family.contains(id)).collect();
        family.extend(new);
        at += 1;
    }
    family.into_iter().flat_map(of).map(|process| process.ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_behind_its_name() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194560 9 0 0 0 11 5 3 1 20 0 1 0 100 200 300";
        assert_eq!(parse(stat), Some(Process { id: 42, parent: 7, ticks: 20 }));
    }

    #[test]
    fn a_tree_is_all_descendants_and_nobody_else() {
        let process = |id, parent, ticks| Process { id, parent, ticks };
        let all = [
            process(1, 0, 1),
            process(2, 1, 10),
            process(3, 2, 100),
            process(4, 1, 1_000),
            process(5, 3, 10_000),
        ];
        assert_eq!(ticks(&all, 2), 10_110);
        assert_eq!(ticks(&all, 1), 11_111);
    }

    #[test]
    fn a_process_that_works_has_used_time() {
        let since = std::time::Instant::now();
        while since.elapsed() < Duration::from_millis(50) {}
        if cfg!(target_os = "linux") {
            assert!(of_tree(std::process::id()).expect("this process runs") > Duration::ZERO);
        }
    }
}
