//! Orders of what happens that went wrong once, or easily could.

#![forbid(unsafe_code)]

use super::*;

/// All read and write until there is nothing more to do.
fn settle(world: &mut World) {
    for _ in 0..40 {
        world.clock.advance(Duration::from_millis(50));
        for at in 0..3 {
            world.read(at);
            world.write(at);
        }
    }
}

/// A broker writes its next entry, and Redis takes it.
fn write_one(world: &mut World, at: usize) {
    let now = world.clock.now();
    let record = world.brokers[at].log.next_to_write(now).unwrap();
    world.redis.append(&record);
    world.brokers[at].log.written(&record.id, now);
}

#[test]
fn an_epoch_that_is_over_never_begins_again() {
    let mut world = World::new(1);
    settle(&mut world);
    world.ask(0, "ann");
    world.answer(0);
    world.saved = world.redis.clone();
    world.revoke(0, "ann");
    settle(&mut world);
    let subject = Subject { client_id: "c", username: "ann", topic: None };
    let is_believed = |world: &World| {
        let (stamp, _) = world.redis.answers["ann"];
        let now = world.clock.now();
        let mut logs = world.brokers.iter().map(|broker| &broker.log);
        assert!(logs.clone().all(|log| log.is_in_touch(now)));
        logs.any(|log| log.believes(&stamp, &subject, now))
    };
    // Redis crashes again before it saves anything, when nobody puts the command back any more.
    for _ in 0..3 {
        world.restore();
        settle(&mut world);
        assert!(!is_believed(&world));
        world.clock.advance(Duration::from_secs(601));
    }
}

/// A master that has been replaced says that it has an entry, which those who read from its successor never get.
#[test]
fn what_was_written_and_is_not_read_back_is_written_again() {
    let mut world = World::new(1);
    settle(&mut world);
    world.revoke(0, "ann");
    let now = world.clock.now();
    let record = world.brokers[0].log.next_to_write(now).unwrap();
    world.brokers[0].log.written(&record.id, now);
    assert_eq!(world.brokers[0].log.place(&record.id), None);
    settle(&mut world);
    let has = |entry: &Entry| entry.record.as_ref().is_some_and(|found| found.id == record.id);
    assert!(world.redis.log.iter().any(has));
    assert!(world.brokers[0].log.place(&record.id).is_some());
    assert_eq!(world.brokers[0].log.outbox(), 0);
}

/// The thread that writes panics, and begins anew.
#[test]
fn what_was_handed_out_when_a_thread_panicked_is_written_all_the_same() {
    let mut world = World::new(1);
    settle(&mut world);
    world.revoke(0, "ann");
    let (now, log) = (world.clock.now(), &mut world.brokers[0].log);
    let handed_out = log.next_to_write(now).unwrap();
    assert_eq!(log.next_to_write(now), None);
    log.retry_unknown();
    assert_eq!(log.next_to_write(now).as_ref(), Some(&handed_out));
    log.written(&handed_out.id, now);
    log.retry_unknown();
    assert_eq!(log.next_to_write(now), None, "Redis has it");
}

#[test]
fn a_loss_is_noticed_though_all_have_read_on_before_they_look() {
    let mut world = World::new(1);
    settle(&mut world);
    world.revoke(0, "ann");
    settle(&mut world);
    let (command, epoch) =
        (*world.commands.keys().next().unwrap(), world.brokers[0].log.applied().0);
    world.redis.log.clear();
    world.revoke(1, "ben");
    write_one(&mut world, 1);
    (0..3).for_each(|at| world.follow(at));
    settle(&mut world);
    assert_ne!(world.brokers[0].log.applied().0, epoch);
    let ids = world.redis.log.iter().filter_map(|entry| entry.record.as_ref()).map(|r| r.id);
    assert!(ids.collect::<Vec<_>>().contains(&command));
}

/// A replica takes over that lacks the last entries, and another broker writes there before this one looks.
#[test]
fn a_loss_of_what_was_read_last_is_noticed_at_the_next_connection() {
    let mut world = World::new(1);
    settle(&mut world);
    let epoch = world.brokers[0].log.applied().0;
    let kept = world.redis.log.len();
    for user in ["ann", "ben"] {
        world.revoke(2, user);
        write_one(&mut world, 2);
    }
    let commands: Vec<_> = world.commands.keys().copied().collect();
    world.follow(0);
    world.redis.log.truncate(kept);
    // The one that wrote them does not come back.
    (world.brokers[0].is_cut, world.brokers[2].is_cut) = (true, true);
    (0..3).for_each(|at| world.read(at));
    world.revoke(1, "cem");
    write_one(&mut world, 1);
    world.brokers[0].is_cut = false;
    settle(&mut world);
    assert_ne!(world.brokers[0].log.applied().0, epoch);
    let ids = world.redis.log.iter().filter_map(|entry| entry.record.as_ref()).map(|r| r.id);
    let ids: Vec<_> = ids.collect();
    assert!(commands.iter().all(|command| ids.contains(command)));
}

#[test]
fn what_redis_has_lost_is_put_back() {
    let mut world = World::new(1);
    settle(&mut world);
    assert!(world.brokers.iter().all(|broker| broker.log.is_in_touch(world.clock.now())));
    world.revoke(0, "ann");
    settle(&mut world);
    let command = *world.commands.keys().next().unwrap();
    world.redis.log.clear();
    // Who had it first does not come back.
    world.brokers[0].is_cut = true;
    settle(&mut world);
    let ids = world.redis.log.iter().filter_map(|entry| entry.record.as_ref()).map(|r| r.id);
    assert!(ids.collect::<Vec<_>>().contains(&command));
    assert!((1..3).all(|at| world.brokers[at].log.is_in_touch(world.clock.now())));
    assert!((1..3).all(|at| world.brokers[at].asked_again > 0), "something may have been lost");
}

/// The log begins anew between what this broker looks for and what it has applied.
#[test]
fn a_trimmed_log_brings_nothing_back_that_was_applied() {
    let mut world = World::new(1);
    settle(&mut world);
    let first = world.redis.log.len();
    for user in ["ben", "ann"] {
        // An answer about ann from between the two.
        let stamp = world.brokers[1].log.stamp(world.clock.now()).unwrap();
        let answer = Answer { asked: world.happened, asked_at: world.clock.now() };
        world.redis.answers.insert("ann", (stamp, answer));
        world.revoke(1, user);
        write_one(&mut world, 1);
        (0..3).for_each(|at| world.follow(at));
    }
    world.brokers[0].is_cut = true;
    // The others look on.
    (0..3).for_each(|at| world.read(at));
    world.redis.log.drain(..first);
    world.brokers[0].is_cut = false;
    settle(&mut world);
    let (log, now) = (&world.brokers[0].log, world.clock.now());
    assert!(log.is_in_touch(now));
    let subject = Subject { client_id: "c", username: "ann", topic: None };
    assert!(!log.believes(&world.redis.answers["ann"].0, &subject, now));
}

/// The broker that wrote it had no Redis for longer than entries are kept.
#[test]
fn what_waited_for_long_and_is_lost_then_is_put_back() {
    let mut world = World::new(1);
    settle(&mut world);
    (0..3).for_each(|at| world.brokers[at].is_cut = true);
    world.revoke(0, "ann");
    settle(&mut world);
    world.clock.advance(Duration::from_secs(601));
    world.brokers[0].is_cut = false;
    settle(&mut world);
    assert_eq!(world.brokers[0].log.outbox(), 0);
    world.redis.log.pop();
    settle(&mut world);
    let command = *world.commands.keys().next().unwrap();
    let has = |entry: &Entry| entry.record.as_ref().is_some_and(|found| found.id == command);
    assert!(world.redis.log.iter().any(has));
}

#[test]
fn a_kick_that_is_too_old_is_told_of() {
    let mut world = World::new(1);
    settle(&mut world);
    let log = &mut world.brokers[0].log;
    let (now, at) = (world.clock.now(), world.clock.unix_time());
    let mut read = |number, later| {
        let record = Record {
            id: [number; 16],
            epoch: log.applied().0.unwrap(),
            at,
            from: "1".to_owned(),
            what: Do::Kick,
            scope: InvalidationScope { username: Some("ann".into()), ..Default::default() },
        };
        let place = Position { ms: 1000, seq: number.into() };
        let entry = Entry { at: place, digest: [number; 32], record: Some(record.clone()) };
        let effects = log.read(&[entry], true, now, now, at + Duration::from_secs(later));
        (effects.contains(&Effect::Kick(record.scope)), effects.contains(&Effect::LateKick))
    };
    assert_eq!(read(1, 599), (true, false));
    assert_eq!(read(2, 600), (false, true));
}
