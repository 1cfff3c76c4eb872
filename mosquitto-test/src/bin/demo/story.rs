//! What the clients do, step by step. The users and their rules are those of `example/users.toml`.

use crate::client::{Client, Code};
use crate::stage::{Asks, Seen, Stage};

const LOGIN: &str = "/user";
const ACCESS: &str = "/acl";
const RECEIVE: Option<u8> = Some(1);
const PUBLISH: Option<u8> = Some(2);
const SUBSCRIBE: Option<u8> = Some(4);

const THERMOMETER: &str = "garden/shed/temperature";

pub fn play(stage: &mut Stage, port: u16) {
    let login = |user: &'static str, password: &'static str| {
        move |nth: usize| log_in(port, user, password, nth)
    };
    let mallory = [Asks(LOGIN, None, 403)];
    stage.step("mallory", "mallory logs in", &mallory, login("mallory", "let me in"));
    let wrong = [Asks(LOGIN, None, 403)];
    stage.step(
        "alice",
        "alice logs in, with a wrong password",
        &wrong,
        login("alice", "w0nderland"),
    );
    let right = [Asks(LOGIN, None, 200)];
    let alice = stage.step("alice", "alice logs in", &right, login("alice", "wonderland"));
    let bob = stage.step("bob", "bob logs in", &right, login("bob", "builder"));
    if let (Some(mut alice), Some(mut bob)) = (alice, bob) {
        use_topics(stage, &mut alice, &mut bob);
    }
}

fn use_topics(stage: &mut Stage, alice: &mut Client, bob: &mut Client) {
    stage.step(
        "bob",
        "bob subscribes to garden/+/temperature",
        &[Asks(ACCESS, SUBSCRIBE, 200)],
        |_| (subscribe(bob, "garden/+/temperature"), ()),
    );
    stage.step(
        "bob",
        "bob subscribes to garden/#, which is more than he may see",
        &[Asks(ACCESS, SUBSCRIBE, 403)],
        |_| (subscribe(bob, "garden/#"), ()),
    );
    stage.step(
        "alice",
        "alice publishes to garden/shed/temperature, which is delivered to bob",
        &[Asks(ACCESS, PUBLISH, 200), Asks(ACCESS, RECEIVE, 200)],
        |_| (publish_for(bob, alice, THERMOMETER, "21.5"), ()),
    );
    stage.step("bob", "bob publishes to garden/bob/valve", &[Asks(ACCESS, PUBLISH, 200)], |_| {
        (publish(bob, "garden/bob/valve", "open"), ())
    });
    stage.step("bob", "bob publishes to garden/alice/valve", &[Asks(ACCESS, PUBLISH, 403)], |_| {
        (publish(bob, "garden/alice/valve", "open"), ())
    });
}

fn log_in(port: u16, user: &str, password: &str, nth: usize) -> (Seen, Option<Client>) {
    // A second connection with the same identifier would end the first.
    let id = if nth == 0 { user.to_owned() } else { format!("{user}-{nth}") };
    let (code, client) = Client::log_in(port, &id, user, password);
    (seen(code, "logged in"), client)
}

fn subscribe(client: &mut Client, filter: &str) -> Seen {
    seen(client.subscribe(filter), "subscribed")
}

fn publish(client: &mut Client, topic: &str, payload: &str) -> Seen {
    seen(client.publish(topic, payload), "published")
}

/// The message has to arrive, and as it was sent.
fn publish_for(reader: &mut Client, writer: &mut Client, topic: &str, payload: &str) -> Seen {
    let published = publish(writer, topic, payload);
    if !published.allowed {
        return published;
    }
    let (came, brought) = reader.receive();
    let allowed = came == topic && brought == payload;
    Seen { allowed, what: format!("published, and bob received {brought}") }
}

fn seen(code: Code, done: &str) -> Seen {
    let what = match code {
        0..0x80 => done.to_owned(),
        0x87 => "refused: not authorized (0x87)".to_owned(),
        _ => format!("refused ({code:#04x})"),
    };
    Seen { allowed: code < 0x80, what }
}
