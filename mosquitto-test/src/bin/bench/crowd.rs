//! Many clients that log in, each again and again until it is in, and then stay.

use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{interval, sleep};

use crate::clock;
use crate::link::{Attempt, Link, Who};

/// How many try at the same time: the broker's queue for new connections holds 100.
pub const AT_ONCE: usize = 90;

/// How soon after one another clients come.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As soon as somebody else is in.
    Rush,
    /// No more than so many in a second.
    PerSecond(u32),
}

/// Clients that are in.
pub struct Crowd {
    sockets: Vec<TcpStream>,
    /// When the first of them began, and when the last was in.
    pub began: Duration,
    pub ended: Duration,
    /// Attempts that were closed without an answer.
    pub retries: usize,
    /// How long each took from its first attempt until it was in, ascending.
    pub waits: Vec<Duration>,
}

impl Crowd {
    /// Returns when all are in; panics if anyone is refused.
    pub fn log_in(port: u16, clients: Vec<Who>, pace: Pace) -> Crowd {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let retries = Rc::<Cell<usize>>::default();
        let began = clock::now();
        let all = all(port, clients, pace, Rc::clone(&retries));
        let entered = LocalSet::new().block_on(&runtime, all);
        let ended = clock::now();
        let (sockets, mut waits): (Vec<_>, Vec<_>) = entered.into_iter().unzip();
        waits.sort();
        Crowd { sockets, began, ended, retries: retries.get(), waits }
    }

    pub fn took(&self) -> Duration {
        self.ended - self.began
    }

    /// How many the broker has cut off since.
    pub fn cut_off(&self) -> usize {
        let is_open = |socket: &&TcpStream| match socket.peek(&mut [0]) {
            Ok(count) => count > 0,
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        };
        self.sockets.len() - self.sockets.iter().filter(is_open).count()
    }
}

async fn all(
    port: u16,
    clients: Vec<Who>,
    pace: Pace,
    retries: Rc<Cell<usize>>,
) -> Vec<(TcpStream, Duration)> {
    let gate = Rc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut ticks = match pace {
        Pace::Rush => None,
        Pace::PerSecond(rate) => Some(interval(Duration::from_secs(1) / rate)),
    };
    for (number, who) in clients.into_iter().enumerate() {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let (gate, retries) = (Rc::clone(&gate), Rc::clone(&retries));
        tasks.spawn_local(async move { one(port, &who, number, &gate, &retries).await });
    }
    tasks.join_all().await
}

/// One client: out of the gate while it pauses, so that others try meanwhile.
async fn one(
    port: u16,
    who: &Who,
    number: usize,
    gate: &Semaphore,
    retries: &Cell<usize>,
) -> (TcpStream, Duration) {
    let mut began = None;
    for attempt in 0.. {
        let permit = gate.acquire().await.unwrap();
        let began = *began.get_or_insert_with(clock::now);
        match Link::log_in(port, who).await {
            Attempt::In(link) => return (link.into_socket(), clock::now() - began),
            Attempt::Refused(code) => panic!("{} was refused with {code}", who.id),
            Attempt::Closed => drop(permit),
        }
        retries.set(retries.get() + 1);
        sleep(pause(number, attempt)).await;
    }
    unreachable!("attempts never run out")
}

/// Tries until the client of this number is in.
pub async fn enter(port: u16, who: &Who, number: usize) -> Link {
    for attempt in 0.. {
        if let Attempt::In(link) = Link::log_in(port, who).await {
            return link;
        }
        sleep(pause(number, attempt)).await;
    }
    unreachable!("attempts never run out")
}

/// Tries until the client of this number is in and subscribed; a check may be denied while its
/// answer is fetched.
pub async fn enter_and_subscribe(port: u16, who: &Who, number: usize, filter: &str) -> Link {
    for attempt in 0.. {
        let mut link = enter(port, who, number).await;
        while let Ok(granted) = link.subscribe(filter).await {
            if granted {
                return link;
            }
            sleep(pause(number, attempt)).await;
        }
    }
    unreachable!("attempts never run out")
}

/// Between 100 ms and 1 s, different for every client, and the same in every run.
fn pause(client: usize, attempt: usize) -> Duration {
    let mixed = (client as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add((attempt as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
    Duration::from_millis(100 + (mixed >> 33) % 900)
}
