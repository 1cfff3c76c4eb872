//! Subscribers of one topic, and somebody who publishes to it and waits until all have it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::clock;
use crate::crowd::{AT_ONCE, enter, enter_and_subscribe};
use crate::link::{Link, Who};

/// How long the last message has to arrive after the broker is done with all of them.
const LAST: Duration = Duration::from_secs(20);

/// All of them have one thread, which is that of whoever has them publish.
pub struct Audience {
    runtime: Runtime,
    tasks: LocalSet,
    publisher: Link,
    arrivals: Rc<Arrivals>,
    size: usize,
    sent: u64,
}

/// Of the message that was sent last.
#[derive(Default)]
struct Arrivals {
    number: Cell<u64>,
    count: Cell<usize>,
    last: Cell<Duration>,
    more: Notify,
}

/// What became of a message.
#[derive(Clone, Copy)]
pub struct Delivery {
    pub sent: Duration,
    /// Until the last one to get it had it.
    pub took: Duration,
    /// How many never got it.
    pub lost: usize,
}

impl Audience {
    /// Returns when all are subscribed.
    pub fn gather(port: u16, size: usize, filter: &'static str) -> Audience {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let tasks = LocalSet::new();
        let arrivals = Rc::<Arrivals>::default();
        let publisher = Who::right("publisher".to_owned());
        let publisher = runtime.block_on(enter(port, &publisher, size));
        for subscriber in runtime.block_on(tasks.run_until(subscribers(port, size, filter))) {
            tasks.spawn_local(read(subscriber, Rc::clone(&arrivals)));
        }
        Audience { runtime, tasks, publisher, arrivals, size, sent: 0 }
    }

    /// Publishes a message (QoS 0), and returns when everybody has it, or will not have it.
    pub fn publish(&mut self, topic: &str) -> Delivery {
        self.sent += 1;
        let payload = self.sent.to_be_bytes();
        let packet = raw::publish_packet(Protocol::V3_1_1, topic, &payload, None);
        let arrivals = &self.arrivals;
        arrivals.number.set(self.sent);
        arrivals.count.set(0);
        let publisher = &mut self.publisher;
        let size = self.size;
        let published = async {
            let sent = clock::now();
            arrivals.last.set(sent);
            publisher.send(&packet).await.expect("the broker keeps the publisher");
            publisher.ping().await.expect("the broker keeps the publisher");
            let _ = timeout(LAST, arrivals.reach(size)).await;
            let took = arrivals.last.get() - sent;
            Delivery { sent, took, lost: size - arrivals.count.get() }
        };
        self.runtime.block_on(self.tasks.run_until(published))
    }
}

impl Arrivals {
    async fn reach(&self, count: usize) {
        while self.count.get() < count {
            self.more.notified().await;
        }
    }
}

async fn subscribers(port: u16, size: usize, filter: &'static str) -> Vec<Link> {
    let gate = Rc::new(Semaphore::new(AT_ONCE));
    let mut entering = JoinSet::new();
    for number in 0..size {
        let gate = Rc::clone(&gate);
        entering.spawn_local(async move {
            let _permit = gate.acquire().await.unwrap();
            let who = Who::right(format!("reader-{number}"));
            enter_and_subscribe(port, &who, number, filter).await
        });
    }
    entering.join_all().await
}

/// Notes every delivery until the connection ends.
async fn read(mut subscriber: Link, arrivals: Rc<Arrivals>) {
    while let Ok((first, body)) = subscriber.packet().await {
        let number = body.last_chunk::<8>().filter(|_| first == 0x30);
        if number.is_some_and(|number| u64::from_be_bytes(*number) == arrivals.number.get()) {
            arrivals.count.set(arrivals.count.get() + 1);
            arrivals.last.set(clock::now());
            arrivals.more.notify_one();
        }
    }
}
