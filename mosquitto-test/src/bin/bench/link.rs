//! An MQTT client as light as can be: a socket, packets made by hand, no thread of its own.

use std::io;
use std::time::Duration;

use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long a client waits for its CONNACK before it gives up: what common libraries wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Whom a client claims to be.
#[derive(Clone)]
pub struct Who {
    pub id: String,
    pub username: String,
    pub password: &'static str,
}

impl Who {
    /// A client with the right password, named like its user.
    pub fn right(name: String) -> Who {
        Who { id: name.clone(), username: name, password: "right" }
    }
}

/// How an attempt to log in ended.
pub enum Attempt {
    In(Link),
    Refused(u8),
    /// Closed without a CONNACK, or no answer at all: a real client tries again.
    Closed,
}

/// A connection.
pub struct Link {
    reader: Reader,
    writer: OwnedWriteHalf,
}

/// What is read from a connection, packet by packet.
pub struct Reader {
    half: OwnedReadHalf,
    unread: Vec<u8>,
}

impl Link {
    pub async fn log_in(port: u16, who: &Who) -> Attempt {
        match timeout(CONNECT_TIMEOUT, Link::try_log_in(port, who)).await {
            Ok(Ok((link, 0))) => Attempt::In(link),
            Ok(Ok((_, code))) => Attempt::Refused(code),
            Ok(Err(_)) | Err(_) => Attempt::Closed,
        }
    }

    async fn try_log_in(port: u16, who: &Who) -> io::Result<(Link, u8)> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (half, writer) = stream.into_split();
        let mut link = Link { reader: Reader { half, unread: Vec::new() }, writer };
        let (name, password) = (who.username.as_bytes(), who.password.as_bytes());
        let connect =
            raw::connect_packet(Protocol::V3_1_1, &who.id, Some(name), Some(password), true);
        link.send(&connect).await?;
        match link.packet().await? {
            (0x20, body) if body.len() == 2 => Ok((link, body[1])),
            (first, _) => panic!("expected a CONNACK, got a packet that begins with {first:#x}"),
        }
    }

    /// Subscribes; `false` if that is denied.
    pub async fn subscribe(&mut self, filter: &str) -> io::Result<bool> {
        self.send(&raw::subscribe_packet(Protocol::V3_1_1, 1, &[filter])).await?;
        let (first, body) = self.packet().await?;
        assert_eq!(first, 0x90, "expected a SUBACK");
        Ok(body[2] < 0x80)
    }

    /// Returns once the broker has seen to everything that was sent before.
    pub async fn ping(&mut self) -> io::Result<()> {
        self.send(&raw::ping_packet()).await?;
        let (first, _) = self.packet().await?;
        assert_eq!(first, 0xd0, "expected a PINGRESP");
        Ok(())
    }

    /// The next packet: its first byte and its body.
    pub async fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        self.reader.packet().await
    }

    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.writer.try_write(left) {
                Ok(count) => left = &left[count..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writer.writable().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Leaves politely.
    pub async fn leave(self) {
        let _ = self.send(&raw::disconnect_packet()).await;
    }

    pub fn into_halves(self) -> (Reader, OwnedWriteHalf) {
        (self.reader, self.writer)
    }

    /// The bare socket, for a client that does nothing more than to stay.
    pub fn into_socket(self) -> std::net::TcpStream {
        let stream = self.reader.half.reunite(self.writer).expect("they are of one connection");
        stream.into_std().expect("the socket leaves the runtime")
    }
}

impl Reader {
    /// The next packet: its first byte and its body. An end of the connection is an error.
    pub async fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = self.take_packet() {
                return Ok(packet);
            }
            self.half.readable().await?;
            let mut bytes = [0; 4096];
            match self.half.try_read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// A whole packet out of what was read. All of ours are shorter than 128 bytes.
    fn take_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, length, ..] = self.unread[..] else { return None };
        assert!(length < 0x80, "the broker sends longer packets than this client reads");
        let end = 2 + usize::from(length);
        (self.unread.len() >= end).then(|| {
            let body = self.unread[2..end].to_vec();
            self.unread.drain(..end);
            (first, body)
        })
    }
}
