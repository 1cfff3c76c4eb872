//! One connection to the API: reads requests, records them, and does what the handler says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Shared;
use super::reply::{Act, Reply, Then};
use super::request::Buffer;

/// A connection, in the clear or under TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

pub(super) struct Connection<'a> {
    shared: &'a Shared,
    stream: Stream,
    number: usize,
    buffer: Buffer,
}

impl<'a> Connection<'a> {
    /// Finishes the TLS handshake, if there is one; a peer that breaks it off is counted.
    pub(super) fn open(
        shared: &'a Shared,
        tcp: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        number: usize,
    ) -> Option<Self> {
        let _ = tcp.set_nodelay(true);
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
                while stream.conn.is_handshaking() {
                    if stream.conn.complete_io(&mut stream.sock).is_err() {
                        shared.state.update(|state| state.broken_handshakes += 1);
                        return None;
                    }
                }
                Stream::Tls(Box::new(stream))
            }
        };
        Some(Connection { shared, stream, number, buffer: Buffer::default() })
    }

    /// Serves until either side ends it. An error only means that the peer has gone.
    pub(super) fn serve(mut self) {
        for nth in 1.. {
            match self.serve_one(nth) {
                Ok(true) => {}
                Ok(false) => return self.close(),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    return self.shared.state.update(|state| state.faults.push(e.to_string()));
                }
                Err(_) => return,
            }
        }
    }

    /// One request and what follows; `false` closes the connection.
    fn serve_one(&mut self, nth: usize) -> io::Result<bool> {
        let Some(mut request) = self.buffer.read_request(&mut self.stream)? else {
            return Ok(false);
        };
        request.connection = self.number;
        request.nth_on_connection = nth;
        self.shared.state.update(|state| state.requests.push(request.clone()));
        let reply = self.shared.handle(&request);
        if let Some(gate) = &reply.gate {
            self.shared.wait_at(gate);
            // It may not have opened: the server ends.
            if self.shared.stopping() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        self.act(&reply)?;
        if let Some((bytes, pause)) = &reply.trickle {
            self.send(bytes, Some(*pause))?;
        }
        if let Some((gate, bytes)) = &reply.unasked {
            self.shared.wait_at(gate);
            self.write(bytes)?;
            self.shared.state.update(|state| state.said_unasked += 1);
        }
        self.follow(reply.then)
    }

    fn act(&mut self, reply: &Reply) -> io::Result<()> {
        match &reply.act {
            Act::Answer(answer) => self.send(&answer.bytes(), reply.drip),
            Act::Raw(bytes) => self.send(bytes, reply.drip),
            Act::Parts(parts) => self.send_parts(parts),
            Act::Huge(size) => self.send_huge(*size),
            Act::Endless { chunked } => self.send_endless(*chunked),
            Act::Endlessly(bytes) => loop {
                self.write(bytes)?;
            },
            Act::Never => io::copy(&mut self.stream, &mut io::sink()).map(drop),
            Act::Nothing => Ok(()),
        }
    }

    fn send(&mut self, bytes: &[u8], drip: Option<Duration>) -> io::Result<()> {
        let Some(pause) = drip else { return self.write(bytes) };
        for byte in bytes {
            self.write(&[*byte])?;
            if self.shared.pause(pause) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    }

    fn send_parts(&mut self, parts: &[Vec<u8>]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(&parts.concat()),
            Stream::Tls(tls) => {
                tls.conn.set_buffer_limit(None);
                for part in parts {
                    tls.conn.writer().write_all(part)?;
                }
                tls.flush()
            }
        }
    }

    fn send_huge(&mut self, size: usize) -> io::Result<()> {
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes())?;
        let block = vec![b' '; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let count = left.min(block.len());
            self.write(&block[..count])?;
            left -= count;
        }
        Ok(())
    }

    /// Ends by the error of writing to a peer that has gone.
    fn send_endless(&mut self, chunked: bool) -> io::Result<()> {
        let head: &[u8] = if chunked {
            b"Transfer-Encoding: chunked\r\n\r\n"
        } else {
            b"Connection: close\r\n\r\n"
        };
        self.write(&[b"HTTP/1.1 200 OK\r\n", head].concat())?;
        let spaces = [b' '; 1024];
        let block =
            if chunked { [b"400\r\n", &spaces[..], b"\r\n"].concat() } else { spaces.to_vec() };
        loop {
            self.write(&block)?;
        }
    }

    fn follow(&mut self, then: Then) -> io::Result<bool> {
        match then {
            Then::Keep => return Ok(true),
            Then::Close => {}
            Then::Reset => reset_on_close(self.tcp()),
            Then::Cut => shut(self.tcp()),
            // Closing with the request unread would make it a reset.
            Then::CloseOnNextRequest => drop(self.buffer.read_request(&mut self.stream)?),
            Then::ResetOnNextRequest => {
                if self.buffer.is_empty() {
                    self.tcp().peek(&mut [0])?;
                }
                reset_on_close(self.tcp());
            }
        }
        Ok(false)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    /// Says goodbye under TLS, where a bare end of the stream is an attack.
    fn close(&mut self) {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(bytes),
            Stream::Tls(tls) => tls.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// Ends a connection from another thread: whoever reads or writes it finds it ended.
pub(super) fn shut(tcp: &TcpStream) {
    let _ = tcp.shutdown(Shutdown::Both);
}

/// Makes the coming close a TCP reset: lingering for no time discards what is unsent.
fn reset_on_close(tcp: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
    // SAFETY: the descriptor is open, and the pointer and size describe the `linger` above.
    let set = unsafe {
        libc::setsockopt(
            tcp.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    assert_eq!(set, 0, "SO_LINGER");
}
