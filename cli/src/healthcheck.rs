//! The subcommand `healthcheck`: whether the broker answers at all.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::args;
use crate::conf::{Conf, Listener};
use crate::exit;
use crate::problem::Problem;

/// A CONNECT packet (MQTT 3.1.1, section 3.1) with protocol level 0, which no broker speaks: it turns
/// the client away before it looks at a user, so that no plugin and no API is asked.
const UNKNOWN_VERSION: &[u8] = b"\x10\x10\x00\x04MQTT\x00\x02\x00\x00\x00\x04live";

/// Checks, and returns the exit status.
pub(crate) fn run(args: &args::Healthcheck, out: &mut dyn Write) -> Result<u8, Problem> {
    let conf = Conf::read(&args.file)?;
    let listener = choose(&conf, args)?;
    let limit = Duration::from_secs(args.timeout.into());
    match probe(listener, limit) {
        Ok(()) => {
            writeln!(out, "the broker answers on {}", listener.name)?;
            Ok(exit::YES)
        }
        Err(error) => {
            writeln!(out, "the broker does not answer on {}: {error}", listener.name)?;
            Ok(exit::NO)
        }
    }
}

fn choose<'a>(conf: &'a Conf, args: &args::Healthcheck) -> Result<&'a Listener, Problem> {
    let wanted =
        |listener: &&Listener| args.listener.as_ref().is_none_or(|name| *name == listener.name);
    conf.listeners.iter().find(wanted).ok_or_else(|| {
        let names: Vec<_> = conf.listeners.iter().map(|listener| listener.name.as_str()).collect();
        let file = args.file.display();
        match &args.listener {
            Some(name) => format!("{file} has no listener {name}; it has {}", names.join(", ")),
            None => format!("{file} has no listener"),
        }
        .into()
    })
}

/// Waits for any sign of life. A listener that expects TLS or websockets answers with an alert or a
/// status, or closes the connection: each of them comes from the broker's own thread. `limit` is what
/// connecting may take, and so may the answer.
fn probe(listener: &Listener, limit: Duration) -> io::Result<()> {
    if listener.name.starts_with('/') {
        let stream = UnixStream::connect(&listener.name)?;
        stream.set_read_timeout(Some(limit))?;
        return await_answer(stream);
    }
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in addresses(listener)? {
        outcome = TcpStream::connect_timeout(&address, limit).and_then(|stream| {
            stream.set_read_timeout(Some(limit))?;
            await_answer(stream)
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Where a client on this machine reaches the listener.
fn addresses(listener: &Listener) -> io::Result<Vec<SocketAddr>> {
    let port = listener.name.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    match listener.address.as_deref() {
        None | Some("0.0.0.0" | "::") => Ok(vec![
            SocketAddr::from(([127, 0, 0, 1], port)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
        ]),
        Some(address) => Ok((address, port).to_socket_addrs()?.collect()),
    }
}

fn await_answer(mut stream: impl Read + Write) -> io::Result<()> {
    // A broker that closes while this is written has answered as well.
    let answered = stream.write_all(UNKNOWN_VERSION).and_then(|()| stream.read(&mut [0; 64]));
    match answered {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Err(io::Error::new(io::ErrorKind::TimedOut, "it takes connections and says nothing"))
        }
        _ => Ok(()),
    }
}
