//! A client's connection: thousands of them on one thread.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mqtt::Protocol;
use crate::raw;

pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    protocol: Protocol,
}

/// What the broker sends.
#[derive(PartialEq, Eq, Debug)]
pub enum Packet {
    Connack(u8),
    Puback { id: u16, code: u8 },
    Suback { codes: Vec<u8> },
    Publish { topic: String, payload: Vec<u8>, id: Option<u16> },
    Other(u8),
}

impl Wire {
    pub async fn open(port: u16, protocol: Protocol) -> io::Result<Wire> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, buffer: Vec::new(), protocol })
    }

    /// A broker that has closed already is found out by the next read.
    pub async fn send(&mut self, packet: &[u8]) {
        let _ = self.stream.write_all(packet).await;
    }

    pub async fn connect(&mut self, id: &str, username: &str, password: &str) {
        let (username, password) = (username.as_bytes(), password.as_bytes());
        let packet = raw::connect_packet(self.protocol, id, Some(username), Some(password), true);
        self.send(&packet).await;
    }

    /// The next packet; none once the broker has closed. May be given up on, and called again.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some((first, body, length)) = split(&self.buffer) {
                let packet = parse(self.protocol, first, body);
                self.buffer.drain(..length);
                return Some(packet);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(count) if count > 0 => {}
                _ => return None,
            }
        }
    }
}

/// The first packet's first byte and body, and how many bytes it takes in all.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (length, digits) = variable(bytes.get(1..)?)?;
    let end = 1 + digits + length;
    Some((bytes[0], bytes.get(1 + digits..end)?, end))
}

/// A variable-length number and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (position, byte) in bytes.iter().take(4).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((number, position + 1));
        }
    }
    None
}

fn parse(protocol: Protocol, first: u8, body: &[u8]) -> Packet {
    let two = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let past_properties = |at: usize| match protocol {
        Protocol::V3_1_1 => at,
        Protocol::V5 => {
            let (length, digits) = variable(&body[at..]).expect("properties have a length");
            at + digits + length
        }
    };
    match first & 0xf0 {
        0x20 => Packet::Connack(body[1]),
        0x40 => Packet::Puback { id: two(0), code: body.get(2).copied().unwrap_or(0) },
        0x90 => Packet::Suback { codes: body[past_properties(2)..].to_vec() },
        0x30 => {
            let mut at = 2 + usize::from(two(0));
            let topic = String::from_utf8_lossy(&body[2..at]).into_owned();
            let id = (first & 0x06 != 0).then(|| two(at));
            at += if id.is_some() { 2 } else { 0 };
            Packet::Publish { topic, payload: body[past_properties(at)..].to_vec(), id }
        }
        _ => Packet::Other(first),
    }
}
