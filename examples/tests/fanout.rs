//! The example `fanout`, run as a process on SQLite.

mod support;

#[test]
fn every_page_is_in_order_and_the_one_that_is_gone_is_noted() {
    // The tree does not starve with one slot, because waiting functions hold no slot.
    for slots in ["1", "16"] {
        let folder = tempfile::tempdir().expect("a folder");

        let output =
            support::example("fanout", folder.path()).args(["--slots", slots]).output().expect("a process");

        assert!(output.status.success(), "{output:?}");
        let expected = "alpha.example\n  /: 3 words\n  /news: 5 words\n  /about: 7 words\n\
                        beta.example\n  /: 5 words\n  /gone: /gone is gone\n  /contact: 1 words\n\
                        gamma.example\n  /: 1 words\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
