//! An API that answers every request alike, but lets one client in without rules, and denies it every topic.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// The username of that client.
pub(crate) const STRANGER: &str = "stranger";

/// One that runs. Its threads end with the process.
pub(crate) struct Api {
    pub port: u16,
    about_stranger: Arc<AtomicUsize>,
    about_others: Arc<AtomicUsize>,
}

impl Api {
    pub(crate) fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let [about_stranger, about_others] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let counts = [&about_stranger, &about_others].map(Arc::clone);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let counts = counts.clone();
                thread::spawn(move || serve(connection.unwrap(), answer, &counts));
            }
        });
        Self { port, about_stranger, about_others }
    }

    /// How many questions came about the stranger, and about all others.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.about_stranger.load(Relaxed), self.about_others.load(Relaxed))
    }
}

/// Answers until the plugin closes the connection.
fn serve(mut connection: TcpStream, answer: &str, counts: &[Arc<AtomicUsize>; 2]) {
    let mut requests = BufReader::new(connection.try_clone().unwrap());
    while let Some(length) = body_length(&mut requests) {
        let mut body = vec![0; length];
        requests.read_exact(&mut body).unwrap();
        let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
        let is_strange = has(STRANGER);
        counts[usize::from(!is_strange)].fetch_add(1, Relaxed);
        let (status, answer) = match (is_strange, has("\"topic\"")) {
            (true, true) => ("403 Forbidden", ""),
            (true, false) => ("200 OK", ""),
            (false, _) => ("200 OK", answer),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
        let response = format!("{head}Content-Length: {}\r\n\r\n{answer}", answer.len());
        connection.write_all(response.as_bytes()).unwrap();
    }
}

fn body_length(request: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if request.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            return Some(length);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
}
