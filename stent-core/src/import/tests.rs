//! Parts of exports that fit together, and those that do not.

use uuid::Uuid;

use super::*;
use crate::backend::ExecutionView;
use crate::model::{Epoch, ExecutionStatus, Nonce};

const T: Timestamp = Timestamp::from_micros(5);

fn id(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

/// The first parts of the export of an execution whose root has the id 1.
fn begun() -> Assembly {
    let mut assembly = Assembly::new();
    let view = ExecutionView::new(
        id(1).execution(),
        "checkout".to_owned(),
        "default".to_owned(),
        ExecutionStatus::Running,
        T,
    );
    assembly.add(ExportRecord::Execution(view)).expect("begins");
    let format = ExportRecord::Format { format: ExportRecord::FORMAT, writer: "0.1.0".to_owned() };
    assembly.add(format).expect("follows");
    assembly
}

fn row(n: u128) -> Row {
    let execution = id(1).execution();
    let tree = if n == 1 { Tree::root(execution) } else { Tree::step(execution, id(1)) };
    Row::new(id(n), tree, StepKind::Call)
}

fn add(assembly: &mut Assembly, row: Row, args: Payload) -> Result<(), ImportError> {
    let mut task = TaskView::new(row.id, Seq(0), row.kind, "charge".to_owned(), row.status, T);
    task.parent = row.tree.parent;
    assembly.add(ExportRecord::Task { task, args: Some(args) })?;
    assembly.add(ExportRecord::Row(Box::new(ExportedRow {
        row,
        queue: "default".to_owned(),
        tags: BTreeSet::new(),
        priority: 0,
        retry: None,
        trace: None,
        args: None,
        result: None,
    })))
}

fn finish(mut assembly: Assembly) -> Result<Import, ImportError> {
    assembly.add(ExportRecord::Notes(NotesView::default()))?;
    assembly.finish(T)
}

#[test]
fn the_parts_of_an_export_are_an_import() {
    let mut assembly = begun();
    let root = Row { epoch: Epoch::new(2, Nonce::new(7)), ..row(1) };
    add(&mut assembly, root.clone(), Payload::new("text/plain", b"order".to_vec())).expect("follows");
    add(&mut assembly, row(2), Payload::empty()).expect("follows");

    let import = finish(assembly).expect("is whole");

    assert_eq!((import.execution, import.tasks.len()), (id(1).execution(), 2));
    assert_eq!((&import.tasks[0].row, import.tasks[0].task.args.bytes()), (&root, &b"order"[..]));
    assert_eq!(import.tasks[1].task.lane, Lane::new("default", "charge"));
}

#[test]
fn an_import_has_as_many_tasks_as_the_limit_says() {
    let mut assembly = begun();
    for n in 1..=IMPORT_TASKS_MAX as u128 {
        add(&mut assembly, row(n), Payload::empty()).expect("follows");
    }

    let one_more = add(&mut assembly, row(IMPORT_TASKS_MAX as u128 + 1), Payload::empty());

    assert_eq!(one_more, Err(ImportError::TooManyTasks(id(1).execution())));
    assert!(one_more.is_err_and(|error| error.to_string().contains("more than 10000 tasks")));
}

#[test]
fn an_import_has_as_many_bytes_as_the_limit_says() {
    let mut assembly = begun();
    let args = Payload::new("text/plain", vec![0; 16 * 1024 * 1024]);
    for n in 1..=4 {
        add(&mut assembly, row(n), args.clone()).expect("follows");
    }

    let one_more = add(&mut assembly, row(5), Payload::new("text/plain", vec![0]));

    assert_eq!(one_more, Err(ImportError::TooLarge(id(1).execution())));
    assert!(one_more.is_err_and(|error| error.to_string().contains("more than 64 MiB")));
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let torn = |rows: Vec<Row>| {
        let mut assembly = begun();
        rows.into_iter().for_each(|row| add(&mut assembly, row, Payload::empty()).expect("follows"));
        match finish(assembly) {
            Err(ImportError::Torn { what, .. }) => what,
            other => panic!("it should be torn: {other:?}"),
        }
    };

    assert!(torn(vec![row(2)]).contains("no root"));
    assert!(torn(vec![row(1), row(2), row(2)]).contains("twice"));
    assert!(
        torn(vec![row(1), Row { status: TaskStatus::Completed, ..row(2) }]).contains("its result is missing")
    );
    assert!(torn(vec![row(1), Row { done_order: Some(1), ..row(2) }]).contains("ended after"));
    let below = Row { tree: Tree::step(id(1).execution(), id(9)), ..row(2) };
    assert!(torn(vec![row(1), below]).contains("which is missing"));
}

#[test]
fn every_problem_has_a_hint() {
    let execution = id(1).execution();
    let problems = [
        ImportError::Empty,
        ImportError::NoStart,
        ImportError::Mixed { first: execution, other: id(2).execution() },
        ImportError::Format { format: 2, writer: "9.0.0".to_owned() },
        ImportError::Old(execution),
        ImportError::CutOff(execution),
        ImportError::Longer(execution),
        ImportError::TooManyTasks(execution),
        ImportError::TooLarge(execution),
        ImportError::Compacted(execution),
        ImportError::Torn { execution, what: "a task occurs twice".to_owned() },
        ImportError::Exists(execution),
        ImportError::KeyHeld { execution, holder: id(2).execution() },
        ImportError::Awaits { execution, awaited: id(2).execution() },
    ];
    for problem in problems {
        let text = problem.to_string();
        assert!(
            !problem.hint().is_empty() && !text.ends_with('.') && !text.contains(problem.hint()),
            "{text}"
        );
    }
}
