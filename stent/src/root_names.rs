//! The public names at the root of the crate, so that each change of them shows in a review. Exported macros, `join!` and
//! `select!`, are not among them.

use syn::{Item, UseTree, Visibility};

/// Every public name of `lib.rs`, hidden ones too, sorted.
fn root_names() -> Vec<String> {
    let file = syn::parse_file(include_str!("lib.rs")).expect("lib.rs is Rust");
    let mut names = Vec::new();
    for item in file.items {
        match item {
            Item::Use(item) if is_public(&item.vis) => collect(&item.tree, &mut names),
            Item::Mod(item) if is_public(&item.vis) => names.push(format!("{}::", item.ident)),
            Item::Use(_) | Item::Mod(_) => {}
            // A macro that is exported, or an item that was written here: name it in a file of its own.
            _ => panic!("lib.rs has an item that is neither a module nor an import"),
        }
    }
    names.sort();
    names
}

const fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn collect(tree: &UseTree, names: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => collect(&path.tree, names),
        UseTree::Name(name) => names.push(name.ident.to_string()),
        UseTree::Rename(rename) => names.push(rename.rename.to_string()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, names)),
        _ => panic!("lib.rs exports everything of a module: name each item"),
    }
}

/// The root has the names that an application uses every day; views are in `stent::view`, and the names for authors of
/// stores in `stent::backend`. Write a new name to `root_names.txt` only if most applications will use it.
#[test]
fn the_root_has_the_names_on_the_list() {
    let listed: Vec<&str> = include_str!("root_names.txt").lines().collect();
    assert_eq!(root_names(), listed);
}
