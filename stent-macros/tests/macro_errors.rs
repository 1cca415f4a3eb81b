//! Mistakes that `#[durable]` refuses, and the messages. Each case in `ui/` is one kind of mistake.

#[test]
fn mistakes_are_met_with_a_remedy() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
