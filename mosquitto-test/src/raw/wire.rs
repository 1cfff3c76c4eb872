//! What carries the packets: a connection, TLS, or a websocket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustls::StreamOwned;

use crate::tls::Identity;

/// What is sent and received by.
pub(super) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// TLS by which this client identifies itself.
pub(super) fn tls(stream: TcpStream, identity: &Identity) -> impl Wire + use<> {
    StreamOwned::new(identity.client_connection(), stream)
}

/// The least of a websocket (RFC 6455) that carries MQTT.
pub(super) struct Websocket {
    stream: BufReader<TcpStream>,
    /// How much of a frame is still to be read.
    left: usize,
}

impl Websocket {
    pub(super) fn open(mut stream: TcpStream, headers: &str) -> io::Result<Self> {
        let head = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        write!(stream, "{head}{key}{headers}Sec-WebSocket-Protocol: mqtt\r\n\r\n")?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line)? > 2 {
            line.clear();
        }
        Ok(Self { stream, left: 0 })
    }

    /// Passes over the head of the next frame.
    fn begin_frame(&mut self) -> io::Result<usize> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                Ok(u16::from_be_bytes(length).into())
            }
            length => Ok(length.into()),
        }
    }
}

impl Read for Websocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            self.left = self.begin_frame()?;
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Write for Websocket {
    /// One binary frame, masked with zeroes as a client's frame must be masked.
    fn write(&mut self, payload: &[u8]) -> io::Result<usize> {
        let length = u16::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = vec![0x82];
        match u8::try_from(length) {
            Ok(short) if short < 126 => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.get_mut().write_all(&frame)?;
        Ok(payload.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.get_mut().flush()
    }
}
