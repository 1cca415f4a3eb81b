//! The guide to backends quotes this example; this test keeps the two in sync.

use std::fs;
use std::path::Path;

const GUIDE: &str = include_str!("../../../docs/guide/write-a-backend.md");

#[test]
fn each_block_of_the_guide_stands_in_the_file_that_is_linked_above_it() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut blocks = GUIDE.split("\n```rust\n");
    let mut before = blocks.next().expect("the text before the first block");
    let mut quoted = 0;

    for rest in blocks {
        let (block, after) = rest.split_once("\n```\n").expect("a block that ends");
        let link = before.rsplit_once("](../../examples/custom-backend/").expect("a link above the block").1;
        let (path, between) = link.split_once(')').expect("a link that ends");
        assert_eq!(between.trim(), ":", "the link to {path} stands right above its block");
        let file = fs::read_to_string(example.join(path)).expect("a file of the example");
        assert!(
            file.contains(block),
            "{path} has changed: bring its block in the guide up to date\n\n{block}"
        );
        quoted += 1;
        before = after;
    }

    assert_eq!(
        quoted,
        GUIDE.matches("```rust").count(),
        "blocks of Rust without a file that they are quoted from"
    );
    assert!(quoted > 0);
}
