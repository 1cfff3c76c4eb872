//! How long do the slowest of many calls take, with many sessions and a full cache?
//!
//! Measured is what the calling thread spends, so that other load on the machine counts less. Meanwhile
//! somebody asks what nobody asked before, once in a hundred calls: the answers need room.

use std::ffi::CString;
use std::hint::black_box;

use crate::api::STRANGER;
use crate::broker::{Client, Plugin};
use crate::{Case, Stage};

const SESSIONS: usize = 10_000;

/// Room for about 34,000 answers. The sessions have 30,000; those of a stranger are more than the rest.
const CACHE: &str = "16MiB";
const STRANGE: usize = 12_000;

const CALLS: usize = 300_000;

/// Prints a table in Markdown.
pub(crate) fn print() {
    let options = [("cache_max_bytes", CACHE), ("cache_deny_ttl", "3600")];
    let mut stage = Stage::with(Case::CachedAccess, SESSIONS, &options);
    let other = CString::new("news/2026/yesterday").unwrap();
    for client in &stage.clients {
        while !stage.plugin.may_read(client, &other) {}
    }
    let mut stranger = Stranger { client: Client::new(STRANGER, STRANGER), asked: 0 };
    (0..STRANGE).for_each(|_| stranger.ask(&stage.plugin));
    println!("| call | median | 99.9 % | longest |\n| --- | --- | --- | --- |");
    row("nothing", &mut stage, &mut stranger, |_| ());
    row("the same delivery as before", &mut stage, &mut stranger, |stage| stage.ask());
    let mut turn = 0;
    row("one of two deliveries in turn", &mut stage, &mut stranger, |stage| {
        turn += 1;
        let client = &stage.clients[turn / 2 % stage.clients.len()];
        let topic = if turn % 2 == 0 { &stage.topic } else { &other };
        while !stage.plugin.may_read(client, black_box(topic)) {}
    });
    stage.case = Case::CachedLogin;
    row("a login", &mut stage, &mut stranger, |stage| stage.ask());
}

/// Somebody who asks what nobody asked before.
struct Stranger {
    client: Client,
    asked: usize,
}

impl Stranger {
    fn ask(&mut self, plugin: &Plugin) {
        self.asked += 1;
        let topic = CString::new(format!("strange/{}", self.asked)).unwrap();
        let _ = plugin.may_read(&self.client, &topic);
    }
}

fn row(name: &str, stage: &mut Stage, stranger: &mut Stranger, mut call: impl FnMut(&mut Stage)) {
    (0..SESSIONS).for_each(|_| call(stage));
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        if number % 100 == 0 {
            stranger.ask(&stage.plugin);
        }
        let before = spent();
        call(stage);
        times.push(spent() - before);
    }
    times.sort_unstable();
    let at = |share: f64| times[((CALLS - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!("| {name} | {:.2} µs | {:.1} µs | {:.0} µs |", at(0.5), at(0.999), at(1.0));
}

/// What this thread has spent, in nanoseconds.
pub(crate) fn spent() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to the time alone.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
