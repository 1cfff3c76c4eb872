//! A Redis that cannot be trusted: it knows the few commands that a fleet needs, and does with them what the
//! test says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::acceptor::Acceptor;
use crate::watch::Watched;

/// What it does to those who ask.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Mischief {
    #[default]
    None,
    /// Sends these bytes in the place of a reply, and then nothing more.
    Say(Vec<u8>),
    /// Sends each byte of a reply so long after the one before.
    Drip(Duration),
    /// Sends replies so much later.
    Delay(Duration),
    /// Sends nothing.
    Swallow,
    /// Sends half of a reply, and closes the connection.
    Cut,
    /// Answers every MGET with this value, whatever it is about.
    Substitute(Vec<u8>),
    /// Has one bit of each value of an MGET flipped, another one each time.
    Flip,
}

/// A running server. It ends, with its connections, when it goes out of scope.
pub struct EvilRedis {
    store: Arc<Watched<Store>>,
    acceptor: Acceptor,
}

type Bytes = Vec<u8>;

#[derive(Default)]
struct Store {
    answers: BTreeMap<Bytes, Bytes>,
    log: Vec<(u64, Bytes)>,
    members: BTreeMap<Bytes, Bytes>,
    mischief: Mischief,
    /// Which commands it concerns; none: all.
    concerns: Vec<&'static str>,
    /// How often it was done.
    done: usize,
    /// How many entries of the log it shows, if not all.
    shown: Option<usize>,
    /// Whether it throws away what is written.
    forgets: bool,
    connections: Vec<TcpStream>,
    /// Whoever waits for an entry of the log waits no longer.
    ending: bool,
}

impl EvilRedis {
    pub fn start() -> EvilRedis {
        let store = Arc::new(Watched::<Store>::default());
        let shared = store.clone();
        let acceptor = Acceptor::start(move |connection, serving| {
            let _ = connection.set_nodelay(true);
            let clone = connection.try_clone().unwrap();
            shared.update(|store| store.connections.push(clone));
            let store = shared.clone();
            serving.push(thread::spawn(move || {
                let _ = serve(&connection, &store);
                let _ = connection.shutdown(Shutdown::Both);
            }));
        });
        EvilRedis { store, acceptor }
    }

    /// Where it is, as `fleet_redis` wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.acceptor.port())
    }

    /// Does this to those who send one of these commands, or any if none is named.
    pub fn does(&self, mischief: Mischief, commands: &[&'static str]) {
        self.store.update(|store| {
            store.mischief = mischief;
            store.concerns = commands.to_vec();
        });
    }

    /// How often it has done what it was to do.
    pub fn done(&self) -> usize {
        self.store.read(|store| store.done)
    }

    /// The shared answers that it has, by their names.
    pub fn answers(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.store.read(|store| store.answers.clone())
    }

    /// Has these in their place.
    pub fn set_answers(&self, answers: BTreeMap<Vec<u8>, Vec<u8>>) {
        self.store.update(|store| store.answers = answers);
    }

    /// From now on answers that are written are thrown away, or not.
    pub fn forget_what_is_written(&self, forgets: bool) {
        self.store.update(|store| store.forgets = forgets);
    }

    /// Shows no entry of the log from now on that is not there yet.
    pub fn withhold_new_entries(&self) {
        self.store.update(|store| store.shown = Some(store.log.len()));
    }

    pub fn show_all_entries(&self) {
        self.store.update(|store| store.shown = None);
    }

    /// Writes bytes into the log that no broker has sealed.
    pub fn forge_entry(&self, bytes: &[u8]) {
        self.store.update(|store| store.append(bytes.to_vec()));
    }

    /// Writes what the log has once more.
    pub fn repeat_entries(&self) {
        self.store.update(|store| {
            for (_, entry) in store.log.clone() {
                store.append(entry);
            }
        });
    }
}

impl Drop for EvilRedis {
    fn drop(&mut self) {
        self.acceptor.stop();
        self.store.update(|store| {
            store.ending = true;
            for connection in &store.connections {
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
    }
}

impl Store {
    fn append(&mut self, entry: Bytes) -> u64 {
        let id = self.log.last().map_or(0, |(id, _)| *id) + 1;
        self.log.push((id, entry));
        id
    }

    fn shown(&self) -> &[(u64, Bytes)] {
        &self.log[..self.shown.unwrap_or(usize::MAX).min(self.log.len())]
    }
}

fn serve(connection: &TcpStream, store: &Watched<Store>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let Some(command) = command(&mut reader)? else { return Ok(()) };
        let name = String::from_utf8_lossy(&command[0]).to_ascii_uppercase();
        let mut reply = reply(&name, &command[1..], store);
        let mischief = store.update(|store| {
            let is_meant = store.concerns.is_empty() || store.concerns.contains(&name.as_str());
            let mischief = if is_meant { store.mischief.clone() } else { Mischief::None };
            store.done += usize::from(mischief != Mischief::None);
            mischief
        });
        let mut out = connection;
        match mischief {
            Mischief::None => {}
            Mischief::Say(bytes) => {
                out.write_all(&bytes)?;
                // Until the other one has had enough.
                let _ = reader.read_to_end(&mut Vec::new());
                return Ok(());
            }
            Mischief::Drip(pause) => {
                for byte in reply {
                    out.write_all(&[byte])?;
                    thread::sleep(pause);
                }
                continue;
            }
            Mischief::Delay(time) => thread::sleep(time),
            Mischief::Swallow => continue,
            Mischief::Cut => return out.write_all(&reply[..reply.len() / 2]),
            Mischief::Substitute(value) => {
                let values: Vec<_> = command[1..].iter().map(|_| bulk(&value)).collect();
                reply = array(&values);
            }
            Mischief::Flip => {
                let number = store.read(|store| store.done);
                let values = store.read(|store| {
                    let flipped = |key: &Bytes| {
                        let mut value = store.answers.get(key)?.clone();
                        let bit = number % (value.len() * 8);
                        value[bit / 8] ^= 1 << (bit % 8);
                        Some(value)
                    };
                    command[1..].iter().map(flipped).collect::<Vec<_>>()
                });
                let values: Vec<_> = values
                    .iter()
                    .map(|v| v.as_ref().map_or(b"$-1\r\n".to_vec(), |v| bulk(v)))
                    .collect();
                reply = array(&values);
            }
        }
        out.write_all(&reply)?;
    }
}

/// A command and its arguments; none at the end.
fn command(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<Bytes>>> {
    let Some(count) = number(reader, b'*')? else { return Ok(None) };
    let mut parts = Vec::new();
    for _ in 0..count {
        let Some(length) = number(reader, b'$')? else { return Ok(None) };
        let mut part = vec![0; length + 2];
        reader.read_exact(&mut part)?;
        part.truncate(length);
        parts.push(part);
    }
    Ok((!parts.is_empty()).then_some(parts))
}

fn number(reader: &mut impl BufRead, mark: u8) -> std::io::Result<Option<usize>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let text = line.strip_prefix(&[mark]).and_then(|line| std::str::from_utf8(line).ok());
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

fn reply(name: &str, arguments: &[Bytes], store: &Watched<Store>) -> Vec<u8> {
    let text = |number: usize| String::from_utf8_lossy(&arguments[number]).into_owned();
    match name {
        "MGET" => store.read(|store| {
            let value =
                |key: &Bytes| store.answers.get(key).map_or(b"$-1\r\n".to_vec(), |v| bulk(v));
            array(&arguments.iter().map(value).collect::<Vec<_>>())
        }),
        "SET" => store.update(|store| {
            if !store.forgets {
                store.answers.insert(arguments[0].clone(), arguments[1].clone());
            }
            b"+OK\r\n".to_vec()
        }),
        // key MAXLEN ~ n * e VALUE
        "XADD" => store.update(|store| {
            let id = store.append(arguments.last().unwrap().clone());
            bulk(format!("{id}-0").as_bytes())
        }),
        // COUNT n [BLOCK ms] STREAMS key after
        "XREAD" => {
            let wait = if text(2) == "BLOCK" { text(3).parse().unwrap() } else { 0 };
            let after = position(&text(arguments.len() - 1));
            let found = store.wait_within(Duration::from_millis(wait), |store| {
                let new: Vec<_> =
                    store.shown().iter().filter(|(id, _)| *id > after).map(entry).collect();
                (!new.is_empty() || store.ending).then(|| array(&new))
            });
            match found {
                Some(entries) => array(&[array(&[bulk(b"log"), entries])]),
                None => b"*-1\r\n".to_vec(),
            }
        }
        // key from to COUNT 1
        "XRANGE" => store.read(|store| {
            let mut entries = store.shown().iter();
            let found = match text(1).as_str() {
                "-" => entries.next(),
                at => entries.find(|(id, _)| *id == position(at)),
            };
            array(&found.map(entry).into_iter().collect::<Vec<_>>())
        }),
        "HSET" => store.update(|store| {
            store.members.insert(arguments[1].clone(), arguments[2].clone());
            b":1\r\n".to_vec()
        }),
        "HDEL" => store.update(|store| {
            store.members.remove(&arguments[1]);
            b":1\r\n".to_vec()
        }),
        "HGETALL" => store.read(|store| {
            let pairs = store.members.iter().flat_map(|(field, value)| [bulk(field), bulk(value)]);
            array(&pairs.collect::<Vec<_>>())
        }),
        "PING" => b"+PONG\r\n".to_vec(),
        _ => b"+OK\r\n".to_vec(),
    }
}

fn position(text: &str) -> u64 {
    text.split('-').next().unwrap().parse().unwrap()
}

fn entry((id, value): &(u64, Bytes)) -> Vec<u8> {
    array(&[bulk(format!("{id}-0").as_bytes()), array(&[bulk(b"e"), bulk(value)])])
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn array(parts: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", parts.len()).as_bytes(), &parts.concat()].concat()
}
