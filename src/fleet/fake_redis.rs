//! A Redis that says what a test has it say, and a fleet of one broker for it.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Fleet;
use super::log::Entry;
use super::record::{Do, Position, Record};
use crate::cache::InvalidationScope;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::fake;
use crate::log_queue::LogQueue;
use crate::sync::lock;

/// A command, and its arguments.
pub(super) type Command = Vec<Vec<u8>>;

/// Starts a server that replies to every command so; none: as a Redis that is empty. Its address.
pub(super) fn serve(
    reply: impl Fn(&Command, &mut TcpStream) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reply = Arc::new(reply);
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let reply = Arc::clone(&reply);
            let serve = move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                while let Some(command) = read(&mut reader) {
                    let said = reply(&command, &mut writer).unwrap_or_else(|| usual(&command));
                    if writer.write_all(&said).is_err() {
                        break;
                    }
                }
            };
            thread::Builder::new().spawn(serve).unwrap();
        }
    };
    thread::Builder::new().spawn(accept).unwrap();
    address
}

fn read(reader: &mut impl BufRead) -> Option<Command> {
    let count = number(reader)?;
    let argument = |_| {
        let mut bytes = vec![0; number(reader)? + 2];
        reader.read_exact(&mut bytes).ok()?;
        bytes.truncate(bytes.len() - 2);
        Some(bytes)
    };
    (0..count).map(argument).collect()
}

fn number(reader: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

fn usual(command: &Command) -> Vec<u8> {
    match command[0].as_slice() {
        b"HSET" | b"HDEL" => b":1\r\n".to_vec(),
        b"HGETALL" | b"XRANGE" => b"*0\r\n".to_vec(),
        b"XADD" => b"$3\r\n5-0\r\n".to_vec(),
        b"XREAD" => {
            thread::park_timeout(Duration::from_millis(20));
            b"*-1\r\n".to_vec()
        }
        b"MGET" => [
            format!("*{}\r\n", command.len() - 1).into_bytes(),
            b"$-1\r\n".repeat(command.len() - 1),
        ]
        .concat(),
        _ => b"+OK\r\n".to_vec(),
    }
}

/// Waits until it is so, which it has to be soon.
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = SystemClock.now();
    while !is_so() {
        assert!(SystemClock.now() - began < Duration::from_secs(10), "{what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A text in a reply.
pub(super) fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Several things in a reply.
pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat()
}

/// An entry of the log in a reply.
pub(super) fn entry(at: &str, sealed: &[u8]) -> Vec<u8> {
    array(&[bulk(at.as_bytes()), array(&[bulk(b"e"), bulk(sealed)])])
}

/// The configuration of a broker of a fleet.
pub(super) fn config(address: &str, more: &[(&str, &str)]) -> Config {
    let given = [
        ("http_host", "a"),
        ("http_user_route", "/u"),
        ("fleet_redis", address),
        ("fleet_secret", "$PATH"),
    ];
    fake::config(&[&given, more].concat())
}

/// A fleet of which nothing runs yet.
pub(super) fn fleet(address: &str, more: &[(&str, &str)], clock: Arc<dyn Clock>) -> Arc<Fleet> {
    let config = config(address, more);
    let log_queue = LogQueue::new(config.log_level, Arc::clone(&clock));
    Fleet::new(&config, log_queue, clock).unwrap()
}

/// The sealed entry that begins an epoch.
pub(super) fn beginning(fleet: &Fleet) -> Vec<u8> {
    fleet.records.seal(fleet.config.name.as_bytes(), &begin(1).encode()).unwrap()
}

fn begin(number: u8) -> Record {
    let (from, scope) = (String::new(), InvalidationScope::default());
    let (id, epoch) = ([number; 16], [number; 16]);
    Record { id, epoch, at: Duration::ZERO, from, what: Do::Begin, scope }
}

/// Has a fleet be in touch with a log that has just begun, by an entry without a byte at 1-0.
pub(super) fn touch(fleet: &Fleet) {
    lock(&fleet.log).reach();
    read_beginning(fleet, 1);
    assert!(lock(&fleet.log).is_in_touch(fleet.clock.now()));
}

/// The same with a log that has begun anew since, after Redis had lost it.
pub(super) fn touch_again(fleet: &Fleet) {
    read_beginning(fleet, 2);
    read_beginning(fleet, 2);
    assert!(lock(&fleet.log).is_in_touch(fleet.clock.now()));
}

fn read_beginning(fleet: &Fleet, number: u8) {
    let (now, at) = (fleet.clock.now(), Position { ms: number.into(), seq: 0 });
    let digest = *blake3::hash(b"").as_bytes();
    let entry = Entry { at, digest, record: Some(begin(number)) };
    let _ = lock(&fleet.log).read(&[entry], true, now, now, fleet.clock.unix_time());
}
