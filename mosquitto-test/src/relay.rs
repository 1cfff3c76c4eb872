//! Stands between the plugin and an API: counts the connections, and sees when one is closed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::acceptor::{Acceptor, Serving};
use crate::watch::{PATIENCE, Watched};

/// When the plugin learns that the API has closed a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    AtOnce,
    /// Only when it sends the next question, as if both had set off at the same time.
    WithTheNextQuestion,
}

/// A running relay. It ends, with its connections, when it goes out of scope.
pub struct Relay {
    seen: Arc<Watched<Seen>>,
    acceptor: Acceptor,
}

#[derive(Default)]
struct Seen {
    /// The plugin's side of each connection.
    opened: Vec<TcpStream>,
    closed: usize,
}

impl Relay {
    /// Relays to the API on this port.
    pub fn to(api: u16, notice: Notice) -> Relay {
        let seen = Arc::new(Watched::<Seen>::default());
        let relay = seen.clone();
        let acceptor =
            Acceptor::start(move |plugin, serving| carry(plugin, api, notice, &relay, serving));
        Relay { seen, acceptor }
    }

    pub fn port(&self) -> u16 {
        self.acceptor.port()
    }

    /// How many connections the plugin has made.
    pub fn opened(&self) -> usize {
        self.seen.read(|seen| seen.opened.len())
    }

    /// How many of them nobody has closed.
    pub fn open(&self) -> usize {
        self.seen.read(|seen| seen.opened.len() - seen.closed)
    }

    /// Waits until every connection is closed.
    pub fn wait_until_closed(&self) {
        let closed = self.seen.wait(|seen| (seen.closed == seen.opened.len()).then_some(()));
        assert!(closed.is_some(), "a connection is still open after {PATIENCE:?}");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.acceptor.stop();
        self.seen.read(|seen| {
            for plugin in &seen.opened {
                let _ = plugin.shutdown(Shutdown::Both);
            }
        });
    }
}

/// Carries what the two sides of a connection say.
fn carry(
    plugin: TcpStream,
    api: u16,
    notice: Notice,
    seen: &Arc<Watched<Seen>>,
    serving: &mut Serving,
) {
    // No API there: the plugin finds its connection closed.
    let Ok(api) = TcpStream::connect(("127.0.0.1", api)) else { return };
    let sides = [&plugin, &api].map(|side| {
        let _ = side.set_nodelay(true);
        side.try_clone().unwrap()
    });
    seen.update(|seen| seen.opened.push(plugin.try_clone().unwrap()));
    serving.push(thread::spawn(move || carry_questions(plugin, api)));
    let seen = seen.clone();
    serving.push(thread::spawn(move || {
        let [mut plugin, mut api] = sides;
        while pass(&mut api, &mut plugin) {}
        // First of all, or a question that comes now would be sent after its connection's end.
        let _ = match notice {
            Notice::AtOnce => plugin.shutdown(Shutdown::Both),
            Notice::WithTheNextQuestion => api.shutdown(Shutdown::Both),
        };
        seen.update(|seen| seen.closed += 1);
    }));
}

/// Ends both sides once one of them is closed.
fn carry_questions(mut plugin: TcpStream, mut api: TcpStream) {
    while pass(&mut plugin, &mut api) {}
    for side in [plugin, api] {
        let _ = side.shutdown(Shutdown::Both);
    }
}

/// Passes on what has arrived; `false` where one side is closed.
fn pass(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut buffer = [0; 64 * 1024];
    let count = from.read(&mut buffer).unwrap_or(0);
    count > 0 && to.write_all(&buffer[..count]).is_ok()
}
