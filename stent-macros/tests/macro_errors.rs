//! What `#[durable]` refuses, and in which words. Each case in `ui/` is one kind of mistake.

#[test]
fn mistakes_are_met_with_a_remedy() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
