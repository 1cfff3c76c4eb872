//! Addresses at which there is no API.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
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
