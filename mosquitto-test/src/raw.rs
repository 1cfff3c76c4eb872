//! Hand-made MQTT packets, for what no client library would send: passwords with NUL in them, names
//! that are not UTF-8, packets before the CONNACK, half a packet.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};

use crate::broker::secrets;
use crate::mqtt::Protocol;
use crate::tls::Identity;
use crate::watch::{PATIENCE, patience};

mod wire;

use wire::{Websocket, Wire};

/// In seconds. A client made by hand sends no pings, and a benchmark may take longer than a common
/// keep-alive. Nine hours, as Mosquitto counts one and a half times that in 16 bits.
const KEEP_ALIVE: u16 = i16::MAX as u16;

/// A connection that sends what it is given and reads packet by packet.
pub struct RawClient {
    stream: TcpStream,
    wire: Box<dyn Wire>,
}

impl RawClient {
    pub fn connect_to(port: u16) -> RawClient {
        RawClient::over(port, |stream| Box::new(stream))
    }

    /// Over TLS, with this certificate.
    pub fn connect_with_certificate(port: u16, identity: &Identity) -> RawClient {
        RawClient::over(port, |stream| Box::new(wire::tls(stream, identity)))
    }

    /// Over a websocket.
    pub fn connect_by_websocket(port: u16) -> RawClient {
        RawClient::connect_by_websocket_with(port, "")
    }

    /// The same, with these lines in the head of the upgrade, each with its line end.
    pub fn connect_by_websocket_with(port: u16, headers: &str) -> RawClient {
        RawClient::over(port, |stream| Box::new(Websocket::open(stream, headers).unwrap()))
    }

    fn over(port: u16, wire: impl FnOnce(TcpStream) -> Box<dyn Wire>) -> RawClient {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).expect("the broker accepts connections");
        stream.set_read_timeout(Some(patience())).unwrap();
        stream.set_nodelay(true).unwrap();
        let wire = wire(stream.try_clone().unwrap());
        RawClient { stream, wire }
    }

    /// Sends bytes; a broker that has closed already is found out by the next read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        if let Some(password) = password_in(bytes.as_ref()) {
            secrets::sent(self.stream.peer_addr().map_or(0, |peer| peer.port()), password);
        }
        let _ = self.wire.write_all(bytes.as_ref());
        self
    }

    /// The next packet as its first byte and what follows the length; `None` once the broker closed.
    pub fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.read_exactly(1)?[0];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.read_exactly(1)?[0];
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some((first, self.read_exactly(length)?))
    }

    /// The code of the CONNACK that comes next; `None` if the broker closes without one.
    pub fn read_connack(&mut self) -> Option<u8> {
        let (first, rest) = self.read_packet()?;
        assert_eq!(first, 0x20, "expected a CONNACK, got {first:#x} {rest:x?}");
        Some(rest[1])
    }

    /// Waits until the broker closes and passes over what it still sends, but for the reason of an
    /// MQTT 5 DISCONNECT (0x8e: taken over, 0x98: kicked).
    pub fn wait_closed(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some((first, rest)) = self.read_packet() {
            if first == 0xe0 {
                reason = Some(rest.first().copied().unwrap_or(0));
            }
        }
        reason
    }

    /// Ends the connection without an MQTT DISCONNECT.
    pub fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The port at this end, by which the broker's log names the connection.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    fn read_exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match self.wire.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the broker sent nothing for {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }
}

/// A packet: first byte, remaining length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// CONNECT with arbitrary bytes for names and password, with a keep-alive of nine hours.
pub fn connect_packet(
    protocol: Protocol,
    id: impl AsRef<[u8]>,
    username: Option<&[u8]>,
    password: Option<&[u8]>,
    clean: bool,
) -> Vec<u8> {
    let flags = u8::from(username.is_some()) << 7
        | u8::from(password.is_some()) << 6
        | u8::from(clean) << 1;
    let mut body = field(b"MQTT");
    body.extend([protocol.level(), flags]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    body.extend(properties(protocol));
    body.extend(field(id.as_ref()));
    for bytes in [username, password].into_iter().flatten() {
        body.extend(field(bytes));
    }
    packet(0x10, &body)
}

/// PUBLISH with QoS 0, or with QoS 1 if it has a packet identifier.
pub fn publish_packet(
    protocol: Protocol,
    topic: impl AsRef<[u8]>,
    payload: &[u8],
    packet_id: Option<u16>,
) -> Vec<u8> {
    let mut body = field(topic.as_ref());
    if let Some(id) = packet_id {
        body.extend(id.to_be_bytes());
    }
    body.extend(properties(protocol));
    body.extend_from_slice(payload);
    packet(if packet_id.is_some() { 0x32 } else { 0x30 }, &body)
}

/// SUBSCRIBE to these filters, each with QoS 1.
pub fn subscribe_packet<F: AsRef<[u8]>>(
    protocol: Protocol,
    packet_id: u16,
    filters: &[F],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(protocol));
    for filter in filters {
        body.extend(field(filter.as_ref()));
        body.push(1);
    }
    packet(0x82, &body)
}

/// PINGREQ: its answer proves that the broker has handled all that was sent before.
pub fn ping_packet() -> Vec<u8> {
    packet(0xc0, &[])
}

/// DISCONNECT, the polite end.
pub fn disconnect_packet() -> Vec<u8> {
    packet(0xe0, &[])
}

/// The password in a CONNECT as [`connect_packet`] makes it: without properties and a Will.
fn password_in(bytes: &[u8]) -> Option<&[u8]> {
    let length = 1 + bytes.get(1..5)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let body = bytes.get(length..).filter(|_| bytes[0] == 0x10)?;
    let (level, flags) = (*body.get(6)?, *body.get(7)?);
    let mut rest = body.get(if level == 5 { 11 } else { 10 }..)?;
    let mut next = || {
        let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
        let text = rest.get(2..2 + length)?;
        rest = &rest[2 + length..];
        Some(text)
    };
    let _id = next()?;
    let _username = if flags & 0x80 != 0 { next() } else { None };
    if flags & 0x40 != 0 { next() } else { None }
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("MQTT fields have at most 65535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// MQTT 5 has a property list in most packets; ours are empty.
fn properties(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::V3_1_1 => &[],
        Protocol::V5 => &[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_in_what_is_sent() {
        for protocol in Protocol::BOTH {
            let sent = |password| connect_packet(protocol, "c", Some(b"ann"), password, true);
            assert_eq!(password_in(&sent(Some(b"open sesame"))), Some(&b"open sesame"[..]));
            assert_eq!(password_in(&sent(Some(&[b'x'; 300]))), Some(&[b'x'; 300][..]));
            assert_eq!(password_in(&sent(None)), None);
        }
        assert_eq!(password_in(&ping_packet()), None);
        assert_eq!(password_in(b""), None);
    }
}
