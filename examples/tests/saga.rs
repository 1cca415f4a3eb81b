//! The example `saga`, run as a process on SQLite.

mod support;

/// The lines of the output.
fn saga(args: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let output = support::example("saga", folder.path()).args(args).output().expect("a process");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn a_trip_that_can_be_booked_is_booked_in_order() {
    assert_eq!(
        saga(&[]),
        [
            "booked    kim-flight",
            "booked    kim-hotel",
            "booked    kim-car",
            "the execution is completed",
            "have a good trip with kim-flight, kim-hotel, kim-car",
        ]
    );
}

#[test]
fn a_trip_that_cannot_be_booked_is_undone_in_reverse_and_says_so() {
    assert_eq!(
        saga(&["--sold-out", "car"]),
        [
            "booked    kim-flight",
            "booked    kim-hotel",
            "cancelled kim-hotel",
            "cancelled kim-flight",
            "the execution is completed",
            "no trip: there is no car left; cancelled kim-hotel, kim-flight",
        ]
    );
}

#[test]
fn a_trip_that_fails_at_once_has_nothing_to_undo() {
    assert_eq!(
        saga(&["--sold-out", "flight"]),
        ["the execution is completed", "no trip: there is no flight left; cancelled nothing"]
    );
}
