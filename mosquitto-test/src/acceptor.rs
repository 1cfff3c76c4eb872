//! Accepts connections on a free port, on a thread of its own, until it goes out of scope.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// The threads that serve connections.
pub type Serving = Vec<JoinHandle<()>>;

pub struct Acceptor {
    port: u16,
    ending: Arc<AtomicBool>,
    accepting: Option<JoinHandle<Serving>>,
    serving: Serving,
}

impl Acceptor {
    /// Hands each connection over, with a list for the threads that serve it.
    pub fn start(mut take: impl FnMut(TcpStream, &mut Serving) + Send + 'static) -> Acceptor {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ending = Arc::<AtomicBool>::default();
        let end = ending.clone();
        let accepting = thread::spawn(move || {
            let mut serving = Serving::new();
            for connection in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Acquire) {
                    break;
                }
                take(connection, &mut serving);
            }
            serving
        });
        Acceptor { port, ending, accepting: Some(accepting), serving: Serving::new() }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes no connection any more. Whoever has connections closes them then, so that their threads end.
    pub fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.ending.store(true, Ordering::Release);
        // Wakes the thread, which sees that this is the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.serving = accepting.join().unwrap_or_default();
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop();
        for thread in self.serving.drain(..) {
            let _ = thread.join();
        }
    }
}
