//! Schemas: the first process that starts migrates them.

use super::fate::dropped_after;
use super::words::*;

list! { migrate:
    G1 migrating_again_changes_nothing,
    G1 a_migrated_store_knows_every_migration,
    G1 handles_that_migrate_at_once_do_it_once,
    G1 a_migration_that_was_dropped_is_finished_by_the_next,
    G1 handles_that_migrate_while_others_work_disturb_nobody,
    G1 open_executions_survive_a_migration,
}

async fn migrating_again_changes_nothing(world: World) {
    let before = world.store().version().await.expect("version");

    world.store().migrate().await.expect("migrate");
    world.peer().await.store().migrate().await.expect("migrate");

    same("version", world.store().version().await.expect("version"), before);
}

async fn a_migrated_store_knows_every_migration(world: World) {
    let bare = world.elsewhere().await;
    let before = bare.store().version().await.expect("version of a store without a schema");
    same("migrations before the first", before.applied, 0);

    bare.store().migrate().await.expect("migrate");

    let after = bare.store().version().await.expect("version");
    same("migrations", (after.applied, after.known), (before.known, before.known));
}

async fn handles_that_migrate_at_once_do_it_once(world: World) {
    let bare = world.elsewhere().await;
    let mut migrations = Vec::new();
    for _ in 0..6 {
        let peer = bare.peer().await;
        migrations.push(tokio::spawn(async move { peer.store().migrate().await.expect("migrate") }));
    }
    for migration in migrations {
        migration.await.expect("a migration ends");
    }

    let version = bare.store().version().await.expect("version");
    same("migrations", version.applied, version.known);
    let claimed = bare.running("charge").await;
    bare.apply(claimed.complete("receipt")).await;
}

async fn a_migration_that_was_dropped_is_finished_by_the_next(world: World) {
    for polls in [1, 3, 10, 30, 100] {
        let mut bare = world.elsewhere().await;
        dropped_after(polls, bare.store().migrate()).await;
        bare.crash_in_place().await;

        bare.store().migrate().await.expect("migrate");

        let version = bare.store().version().await.expect("version");
        same("migrations", version.applied, version.known);
        let claimed = bare.running("charge").await;
        bare.apply(claimed.complete("receipt")).await;
    }
}

async fn handles_that_migrate_while_others_work_disturb_nobody(world: World) {
    const TASKS: usize = 40;
    let ended = at_once(&world, 6, |peer, n| async move {
        let mut ended = 0;
        for _ in 0..TASKS / 4 {
            if n >= 4 {
                peer.store().migrate().await.expect("migrate");
                continue;
            }
            let root = peer.call("charge").leased(t(0), peer.worker, t(30));
            let id = root.id;
            peer.apply(root.start(t(0))).await;
            peer.apply(cancel(id, 0, t(0))).await;
            ended += 1;
        }
        ended
    })
    .await;

    same("ended", ended.iter().sum::<usize>(), TASKS);
    same("over", world.expire_all(t(0)).await.len(), TASKS);
    let version = world.store().version().await.expect("version");
    same("migrations", version.applied, version.known);
}

async fn open_executions_survive_a_migration(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park().with(world.sleep(t(50))), world.call("ship")).await;
    let before = world.snapshot().await;

    let world = world.crash().await;
    world.store().migrate().await.expect("migrate");

    world.snapshot().await.expect_same("the migration changed something", &before);
    world.apply(step.complete("parcel")).await;
    same("steps", world.claim_one(t(0)).await.steps.len(), 2);
}
