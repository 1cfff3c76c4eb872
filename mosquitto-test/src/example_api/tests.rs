use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use super::*;

fn ask(path: &str, body: &str) -> Served {
    ask_by("POST", path, body)
}

fn ask_by(method: &str, path: &str, body: &str) -> Served {
    ExampleApi::built_in().unwrap().answer(&Request::new(method, path, body))
}

#[test]
fn logins() {
    let table = [
        (r#"{"username":"alice","password":"wonderland"}"#, 200),
        (r#"{"username":"alice","password":"wonderland","clientid":"a","keepalive":60}"#, 200),
        (r#"{"username":"alice","password":"Wonderland"}"#, 403),
        (r#"{"username":"alice","password":"wonderlan"}"#, 403),
        (r#"{"username":"alice","password":"wonderlandx"}"#, 403),
        (r#"{"username":"alice","password":""}"#, 403),
        (r#"{"username":"Alice","password":"wonderland"}"#, 403),
        (r#"{"username":"mallory","password":"wonderland"}"#, 403),
        (r#"{"username":"alice"}"#, 400),
        (r#"{"username":"alice","password":null}"#, 400),
        (r#"{"username":"alice","password":"wonderland""#, 400),
        ("username=alice&password=wonderland", 400),
        ("", 400),
    ];
    for (body, status) in table {
        assert_eq!(ask("/user", body).status, status, "{body}");
    }
}

#[test]
fn superusers() {
    for (user, status) in [("root", 200), ("alice", 403), ("mallory", 403)] {
        assert_eq!(
            ask("/superuser", &format!(r#"{{"username":"{user}"}}"#)).status,
            status,
            "{user}"
        );
    }
}

#[test]
fn accesses() {
    let table = [
        ("alice", 2, "garden/shed/temperature", 200),
        ("alice", 2, "kitchen/temperature", 403),
        ("alice", 4, "#", 403),
        ("alice", 4, "$share/group/garden/+", 200),
        ("bob", 2, "garden/bob/valve", 200),
        ("bob", 2, "garden/alice/valve", 403),
        ("bob", 1, "garden/shed/temperature", 200),
        ("bob", 1, "garden/bob/valve", 403),
        ("bob", 1, "garden/+/temperature", 403),
        ("bob", 3, "garden/bob/valve", 403),
        ("bob", 4, "garden/+/temperature", 200),
        ("bob", 4, "garden/shed/temperature", 200),
        ("bob", 4, "garden/#", 403),
        ("bob", 4, "$share/group/garden/#", 403),
        ("alice", 3, "garden/shed", 200),
        ("root", 4, "$SYS/#", 200),
        ("mallory", 1, "garden/shed", 403),
        ("alice", 8, "garden/shed", 400),
        ("alice", 0, "garden/shed", 400),
    ];
    for (username, acc, topic, status) in table {
        let body =
            serde_json::json!({"username": username, "clientid": "c", "topic": topic, "acc": acc});
        let served = ask("/acl", &body.to_string());
        assert_eq!(served.status, status, "{body}: {}", served.reason);
    }
}

#[test]
fn other_paths_and_methods() {
    assert_eq!(ask("/users", "{}").status, 404);
    assert_eq!(ask_by("GET", "/", "").status, 404);
    assert_eq!(ask_by("GET", "/user", "").status, 405);
    assert_eq!(ask_by("PUT", "/acl", "{}").status, 405);
}

#[test]
fn the_reason_names_the_rule() {
    let access = |acc: u8, topic: &str| {
        let body = format!(r#"{{"username":"bob","clientid":"c","topic":"{topic}","acc":{acc}}}"#);
        ask("/acl", &body).reason
    };
    assert_eq!(
        access(4, "garden/shed/temperature"),
        r#"bob's subscribe rule "garden/+/temperature" covers it"#
    );
    assert_eq!(access(2, "garden/x"), r#"bob has no publish rule that matches "garden/x""#);
}

#[test]
fn no_password_is_shown() {
    let table = [
        (
            r#"{"username":"alice","password":"se\u0063ret"}"#,
            r#"{"username":"alice","password":"•••"}"#,
        ),
        (
            r#"{"password":"secret","password":["secret"],"a":1}"#,
            r#"{"password":"•••","password":"•••","a":1}"#,
        ),
        (r#"{"password":31337}"#, r#"{"password":"•••"}"#),
        (r#"{"password":"secret""#, "(20 bytes, not a JSON object)"),
        (r#"["secret"]"#, "(10 bytes, not a JSON object)"),
    ];
    for (body, shown) in table {
        let served = ask("/user", body);
        assert_eq!(served.body, shown);
        assert!(
            !served.reason.contains("secret") && !served.reason.contains("31337"),
            "{}",
            served.reason
        );
    }
}

#[test]
fn a_bad_users_file_is_one_clear_line() {
    let table = [
        ("[users.a]\npasword = \"x\"", "line 2: unknown field `pasword`"),
        ("[users.a]\nsuperuser = true", "line 1: missing field `password`"),
        ("[users.a\n", "line 1: "),
        ("[users.a]\npassword = 1", "line 2: invalid type: integer `1`, expected a string"),
        (
            "[users.a]\npassword = \"x\"\npublish = [\"a/#/b\"]",
            r##"user a: "a/#/b" is not a topic filter: # must be the last level"##,
        ),
    ];
    for (text, expected) in table {
        let Err(error) = ExampleApi::parse(text) else { panic!("{text} was taken") };
        assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
    }
    let Err(error) = ExampleApi::load("/nowhere/users.toml") else { panic!("no file, no error") };
    assert!(error.starts_with("cannot read /nowhere/users.toml: "), "{error}");
}

/// A client with one kept-alive connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(running: &Running) -> Client {
        Client(BufReader::new(TcpStream::connect(running.addr()).unwrap()))
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn post(&mut self, path: &str, body: &str) -> (u16, String) {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        self.receive()
    }

    fn receive(&mut self) -> (u16, String) {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.trim_end().is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
            if let Some(rest) = line.strip_prefix("Content-Length: ") {
                length = rest.trim_end().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

fn running() -> (Running, mpsc::Receiver<Served>) {
    let (sender, served) = mpsc::channel();
    let api = ExampleApi::built_in().unwrap();
    let on_request = move |served: &Served| drop(sender.send(served.clone()));
    (api.serve("127.0.0.1:0", on_request).unwrap(), served)
}

#[test]
fn connections_are_kept_and_independent() {
    let (running, served) = running();
    let (mut one, mut other) = (Client::new(&running), Client::new(&running));
    for _ in 0..3 {
        assert_eq!(one.post("/user", r#"{"username":"bob","password":"builder"}"#).0, 200);
        let (status, reason) = other.post("/superuser?x", r#"{"username":"bob"}"#);
        assert_eq!((status, reason.as_str()), (403, "\"bob\" is no superuser\n"));
    }
    assert_eq!(one.post("/user", "what?").0, 400);
    assert_eq!(one.post("/superuser", r#"{"username":"root"}"#).0, 200);

    let paths: Vec<String> = served.try_iter().map(|served| served.path).collect();
    assert_eq!(paths.len(), 8);
    assert_eq!(paths[..2], ["/user", "/superuser"]);
}

#[test]
fn a_client_may_ask_to_close_and_a_broken_one_is_closed() {
    let (running, _served) = running();
    let mut polite = Client::new(&running);
    polite.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(polite.receive().0, 404);
    assert!(polite.is_closed());
    for broken in [
        "what?\r\n\r\n".to_owned(),
        "POST /user HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "POST /user HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_owned(),
        "x".repeat(20_000),
    ] {
        let mut client = Client::new(&running);
        client.send(&broken);
        assert!(client.is_closed(), "{broken:.60}");
    }
}

#[test]
fn stopping_closes_the_port_and_all_connections() {
    let (running, _served) = running();
    let addr = running.addr();
    let mut client = Client::new(&running);
    assert_eq!(client.post("/superuser", r#"{"username":"root"}"#).0, 200);
    drop(running);
    assert!(client.is_closed());
    assert!(TcpStream::connect(addr).is_err());

    let api = ExampleApi::built_in().unwrap();
    let again = api.serve(&addr.to_string(), |_| {}).unwrap();
    assert_eq!(Client::new(&again).post("/superuser", r#"{"username":"root"}"#).0, 200);
}
