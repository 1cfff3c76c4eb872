//! An API that answers every request alike, one connection after the other.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// Starts it; its port. Its threads end with the process.
pub(crate) fn start(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || serve(connection.unwrap(), answer));
        }
    });
    port
}

/// Answers until the plugin closes the connection.
fn serve(mut connection: TcpStream, answer: &str) {
    let mut requests = BufReader::new(connection.try_clone().unwrap());
    while let Some(length) = body_length(&mut requests) {
        let mut body = vec![0; length];
        requests.read_exact(&mut body).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
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
