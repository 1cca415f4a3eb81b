//! Cases that the suite cannot have: files that this program did not write.

use std::fs;

use custom_backend::JsonStore;
use stent_core::backend::{ErrorKind, Migrate};

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.json");
    let store = JsonStore::open(&file).expect("opens");
    let newer = "{\"format\":2,\"version\":1,\"work\":0,\"ended\":0}\n{}";
    fs::write(&file, newer).expect("writes");

    let migrated = store.migrate().await.expect_err("is refused");
    let opened = JsonStore::open(&file).expect_err("is refused");

    assert_eq!((migrated.kind(), opened.kind()), (ErrorKind::Schema, ErrorKind::Schema));
    assert_eq!(fs::read_to_string(&file).expect("reads"), newer);
}

#[test]
fn something_else_is_refused_and_a_missing_folder_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.json");
    fs::write(&file, "[1, 2, 3]").expect("writes");

    let corrupt = JsonStore::open(&file).expect_err("is refused");
    let missing = JsonStore::open(folder.path().join("none/x.json")).expect_err("is refused");

    assert_eq!(corrupt.kind(), ErrorKind::Corrupt);
    assert_eq!(missing.kind(), ErrorKind::Config);
    assert!(missing.to_string().contains("none/x.json"), "{missing}");
}
