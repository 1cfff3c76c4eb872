//! Addresses at which there is no API.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::acceptor::Acceptor;

/// A port on which nothing listens: connecting is refused at once. Nobody else gets it while this
/// process runs.
pub fn refused_port() -> u16 {
    let port = HeldPort::new(0);
    let number = port.number();
    std::mem::forget(port);
    number
}

/// A port that is taken, whether somebody listens there or not. One that is merely free may be given to
/// another test's server, or to the very connection that is to be refused, which then reaches itself.
pub(super) struct HeldPort(OwnedFd);

impl HeldPort {
    /// 0: any free port.
    pub fn new(port: u16) -> HeldPort {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // So that a listener can be there as well, and connections that ended a moment ago.
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
            .unwrap_or_else(|error| panic!("port {port} cannot be held: {error}"));
        HeldPort(socket)
    }

    pub fn number(&self) -> u16 {
        let address = rustix::net::getsockname(&self.0).unwrap();
        SocketAddrV4::try_from(address).unwrap().port()
    }
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
    acceptor: Acceptor,
}

impl Deaf {
    /// `hangs_up`: closes the connection behind its words, with whatever it was sent unread.
    pub fn saying(bytes: impl AsRef<[u8]>, hangs_up: bool) -> Deaf {
        let bytes = bytes.as_ref().to_vec();
        let mut kept = Vec::new();
        let acceptor = Acceptor::start(move |mut stream, _| {
            let _ = stream.write_all(&bytes);
            if !hangs_up {
                kept.push(stream);
            }
        });
        Deaf { acceptor }
    }

    pub fn port(&self) -> u16 {
        self.acceptor.port()
    }
}
