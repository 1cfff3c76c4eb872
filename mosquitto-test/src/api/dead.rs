//! Addresses at which there is no API.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A port on which nothing listens: connecting is refused at once.
pub fn refused_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A port on which connecting hangs, as behind a firewall that drops packets: its backlog is full and
/// nobody accepts.
pub struct Blackhole {
    address: SocketAddr,
    _listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl Blackhole {
    /// A connection that takes longer than this on the loopback device hangs.
    const HANGS: Duration = Duration::from_millis(300);

    pub fn open() -> Blackhole {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // SAFETY: the descriptor is open and listening; a second listen only shortens its backlog.
        let shortened = unsafe { libc::listen(listener.as_raw_fd(), 0) };
        assert_eq!(shortened, 0, "listen(2) with a backlog of 0");
        let address = listener.local_addr().unwrap();
        let mut backlog = Vec::new();
        while backlog.len() < 16 {
            match TcpStream::connect_timeout(&address, Self::HANGS) {
                Ok(stream) => backlog.push(stream),
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    return Blackhole { address, _listener: listener, _backlog: backlog };
                }
                Err(e) => panic!("filling the backlog: {e}"),
            }
        }
        panic!("the backlog of {address} does not fill");
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// A port on which whoever connects is told these bytes at once, and never listened to.
pub struct Deaf {
    port: u16,
    ending: Arc<AtomicBool>,
    speaker: Option<JoinHandle<()>>,
}

impl Deaf {
    /// `hangs_up`: closes the connection behind its words, with whatever it was sent unread.
    pub fn saying(bytes: impl AsRef<[u8]>, hangs_up: bool) -> Deaf {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ending = Arc::new(AtomicBool::new(false));
        let (bytes, end) = (bytes.as_ref().to_vec(), ending.clone());
        let speaker = thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if end.load(Ordering::Acquire) {
                    return;
                }
                let _ = stream.write_all(&bytes);
                if !hangs_up {
                    kept.push(stream);
                }
            }
        });
        Deaf { port, ending, speaker: Some(speaker) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes the speaker, which sees that this is the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(speaker) = self.speaker.take() {
            let _ = speaker.join();
        }
    }
}
