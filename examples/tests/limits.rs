//! The example `limits`, run as a process on SQLite.

mod support;

/// The numbers in the output, line by line.
fn limits(args: &[&str]) -> Vec<Vec<f64>> {
    let folder = tempfile::tempdir().expect("a folder");
    let output = support::example("limits", folder.path()).args(args).output().expect("a process");
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let numbers = |line: &str| line.split(' ').filter_map(|word| word.parse().ok()).collect();
    stdout.lines().map(numbers).collect()
}

#[test]
fn two_run_at_once_and_twenty_start_in_a_second_however_many_workers_there_are() {
    for workers in ["1", "4"] {
        let printed = limits(&["--workers", workers, "--calls", "50"]);

        let [frames, addresses] = printed.as_slice() else { panic!("two lines: {printed:?}") };
        assert_eq!(frames.as_slice(), [50.0, 2.0], "the limit is reached and not passed");
        // Twenty in the first second, twenty in the next, and then ten more. However slow the machine is, the last one cannot
        // have started before two seconds have passed.
        let [50.0, last] = addresses.as_slice() else { panic!("{printed:?}") };
        assert!(*last >= 2.0, "{printed:?}");
    }
}
