//! What became of deliveries that waited for their answers, by the plugin's own count.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Deliveries that waited.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Held {
    /// Sent once the API said yes.
    pub delivered: u64,
    /// Dropped since the API said no.
    pub denied: u64,
    /// Dropped without an answer, or for want of room.
    pub lost: u64,
    /// Dropped since the client's session ended.
    pub gone: u64,
}

impl Held {
    /// Reads it from the metrics at this port.
    pub fn read(port: u16) -> Held {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).expect("the metrics' port is open");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Held::of(&text)
    }

    fn of(metrics: &str) -> Held {
        let count = |outcome: &str| -> u64 {
            let name = "mosquitto_http_auth_held_deliveries_total";
            let wanted = format!("{name}{{outcome=\"{outcome}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
            value.and_then(|value| value.trim().parse().ok()).expect("there is such a count")
        };
        Held {
            delivered: count("delivered"),
            denied: count("denied"),
            lost: count("expired") + count("no_room"),
            gone: count("gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_from_metrics() {
        let line = |(outcome, count): (&str, u64)| {
            format!("mosquitto_http_auth_held_deliveries_total{{outcome=\"{outcome}\"}} {count}\n")
        };
        let text: String =
            [("delivered", 5), ("denied", 1), ("expired", 2), ("no_room", 3), ("gone", 4)]
                .map(line)
                .concat();
        assert_eq!(Held::of(&text), Held { delivered: 5, denied: 1, lost: 5, gone: 4 });
    }
}
