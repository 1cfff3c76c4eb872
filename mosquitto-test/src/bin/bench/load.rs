//! The clients of one broker, in a process of their own, which do as they are told.
//!
//! A process may have 20,000 files open on many a machine, which is less than the clients of four
//! brokers. They are as simple as can be, so that it is the broker that is measured: sockets, and
//! packets that were made beforehand. Orders come line by line, `WORK STEPS`, and are answered with
//! how many operations that came to and how many nanoseconds it took.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw;

/// What clients can be told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Log in and leave again.
    Connect,
    /// Publish to a topic that nobody subscribes to, and be told nothing.
    PublishQos0,
    /// Publish to a topic that nobody subscribes to, and wait for the acknowledgement.
    PublishQos1,
    /// Be sent what one of them publishes.
    Deliver,
}

impl Work {
    pub const ALL: [Work; 4] = [Work::Connect, Work::PublishQos0, Work::PublishQos1, Work::Deliver];

    pub fn name(self) -> &'static str {
        match self {
            Work::Connect => "connects",
            Work::PublishQos0 => "publishes, QoS 0",
            Work::PublishQos1 => "publishes, QoS 1",
            Work::Deliver => "deliveries",
        }
    }

    /// As an order says it.
    pub fn word(self) -> &'static str {
        match self {
            Work::Connect => "connect",
            Work::PublishQos0 => "qos0",
            Work::PublishQos1 => "qos1",
            Work::Deliver => "deliver",
        }
    }
}

/// The password of everybody.
pub const PASSWORD: &str = "right";

/// How many log in at once.
pub const GUESTS: usize = 50;

/// How many messages are published in a step.
const PUBLISHES: usize = 1000;

/// How many deliveries there are in a step, unless there are more subscribers.
const DELIVERIES: usize = 1000;

/// How many clients publish in a step at most.
const PUBLISHERS: usize = 1000;

/// What a message says.
const PAYLOAD: [u8; 32] = [b'x'; 32];

/// A broker that has not answered by then will not do so.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long clients that were denied something wait: an answer may be under way.
const PAUSE: Duration = Duration::from_millis(50);

/// What all subscribe to, and what is published to all.
const FILTER: &str = "news/+";
const TOPIC: &str = "news/today";

/// The name of a client that stays, which is its identifier and its username.
pub fn resident(number: usize) -> String {
    format!("client-{number:05}")
}

/// The name of a client that comes and goes.
pub fn guest(number: usize) -> String {
    format!("guest-{number:05}")
}

/// The one that publishes what all are sent.
pub const SPEAKER: &str = "speaker";

/// What a client publishes to.
pub fn topic_of(name: &str) -> String {
    format!("devices/{name}/up/state")
}

/// Clients of a broker.
struct Load {
    port: u16,
    residents: Vec<Resident>,
    speaker: TcpStream,
    /// How many messages of each publisher a step has.
    burst: usize,
    /// Who publishes next.
    next: usize,
    news: Vec<u8>,
}

struct Resident {
    socket: TcpStream,
    qos0: Vec<u8>,
    qos1: Vec<u8>,
}

/// Lets the clients in and has them do as the lines say that come in, until there are no more.
pub fn serve(port: u16, count: usize) {
    let mut load = Load::start(port, count);
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line.expect("orders are text");
        let (word, steps) = line.split_once(' ').expect("an order says what, and how much of it");
        let work = Work::ALL.into_iter().find(|work| work.word() == word).expect("a known order");
        let began = Instant::now();
        let operations: usize =
            (0..steps.parse().expect("a number of steps")).map(|_: usize| load.step(work)).sum();
        println!("{operations} {}", began.elapsed().as_nanos());
    }
}

impl Load {
    fn start(port: u16, count: usize) -> Load {
        let burst = PUBLISHES.div_ceil(count.min(PUBLISHERS));
        let numbers: Vec<usize> = (0..count).collect();
        let mut residents = Vec::new();
        for some in numbers.chunks(GUESTS) {
            let names: Vec<String> = some.iter().map(|number| resident(*number)).collect();
            let sockets = enter_all(port, &names);
            for (name, socket) in names.iter().zip(sockets) {
                residents.push(Resident {
                    socket,
                    qos0: publishes(&topic_of(name), burst, 0),
                    qos1: publishes(&topic_of(name), burst, 1),
                });
            }
        }
        for resident in &mut residents {
            subscribe(&mut resident.socket, FILTER);
        }
        let speaker = enter_all(port, &[SPEAKER.to_owned()]).remove(0);
        let news = publishes(TOPIC, DELIVERIES.div_ceil(count), 0);
        let mut load = Load { port, residents, speaker, burst, next: 0, news };
        load.warm_up();
        load
    }

    /// Everybody does everything a few times, so that all answers are known. While they are
    /// fetched, something may be denied, of which a publisher learns nothing.
    fn warm_up(&mut self) {
        let rounds = self.residents.len().div_ceil(PUBLISHERS);
        for _ in 0..3 {
            for work in [Work::Connect, Work::PublishQos0, Work::PublishQos1] {
                for _ in 0..rounds {
                    self.step(work);
                }
            }
            std::thread::sleep(PAUSE);
        }
        self.news_to_all_in_the_end();
    }

    /// Deliveries that were denied do not come; a later message does.
    fn news_to_all_in_the_end(&mut self) {
        let length = raw::publish_packet(Protocol::V3_1_1, TOPIC, &PAYLOAD, None).len();
        let one = publishes(TOPIC, 1, 0);
        for _ in 0..5 {
            send(&self.speaker, &one);
            self.fence();
            std::thread::sleep(PAUSE);
            for resident in &mut self.residents {
                read_away(&mut resident.socket);
            }
        }
        send(&self.speaker, &one);
        for resident in &mut self.residents {
            receive(&mut resident.socket, length);
        }
    }

    /// A step; how many operations it had.
    fn step(&mut self, work: Work) -> usize {
        match work {
            Work::Connect => self.connect(),
            Work::PublishQos0 => {
                self.publish(|resident| &resident.qos0);
                self.fence();
                self.publishers() * self.burst
            }
            Work::PublishQos1 => {
                let some = self.publish(|resident| &resident.qos1);
                for resident in &mut self.residents[some.clone()] {
                    receive(&mut resident.socket, self.burst * 4);
                }
                self.publishers() * self.burst
            }
            Work::Deliver => self.deliver(),
        }
    }

    fn publishers(&self) -> usize {
        self.residents.len().min(PUBLISHERS)
    }

    /// Some clients publish, others than the last time.
    fn publish(&mut self, what: fn(&Resident) -> &Vec<u8>) -> std::ops::Range<usize> {
        let some = self.next..self.next + self.publishers();
        for resident in &self.residents[some.clone()] {
            send(&resident.socket, what(resident));
        }
        self.next = if some.end + self.publishers() > self.residents.len() { 0 } else { some.end };
        some
    }

    /// Returns once the broker has seen to all that was sent before. It sees to its connections in
    /// the order in which they became readable; the second round is for those that it was at.
    fn fence(&mut self) {
        for _ in 0..2 {
            send(&self.speaker, &raw::ping_packet());
            receive(&mut self.speaker, 2);
        }
    }

    fn connect(&mut self) -> usize {
        let names: Vec<String> = (0..GUESTS).map(guest).collect();
        let mut sockets = enter_all(self.port, &names);
        for socket in &sockets {
            send(socket, &raw::disconnect_packet());
        }
        // The broker closes when it is done with them.
        for socket in &mut sockets {
            assert_eq!(socket.read(&mut [0]).expect("the broker closes"), 0);
        }
        GUESTS
    }

    fn deliver(&mut self) -> usize {
        send(&self.speaker, &self.news);
        for resident in &mut self.residents {
            receive(&mut resident.socket, self.news.len());
        }
        self.residents.len() * DELIVERIES.div_ceil(self.residents.len())
    }
}

/// All of them log in at once.
fn enter_all(port: u16, names: &[String]) -> Vec<TcpStream> {
    let enter = |name: &String| {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        socket.set_nodelay(true).expect("the socket is sound");
        socket.set_read_timeout(Some(PATIENCE)).expect("the socket is sound");
        let (user, password) = (Some(name.as_bytes()), Some(PASSWORD.as_bytes()));
        send(&socket, &raw::connect_packet(Protocol::V3_1_1, name, user, password, true));
        socket
    };
    let mut sockets: Vec<TcpStream> = names.iter().map(enter).collect();
    for (name, socket) in names.iter().zip(&mut sockets) {
        // Where a login cannot wait, it may be closed while the answer is fetched.
        while !is_in(socket) {
            std::thread::sleep(PAUSE);
            *socket = enter(name);
        }
    }
    sockets
}

fn is_in(socket: &mut TcpStream) -> bool {
    let mut connack = [0; 4];
    if socket.read_exact(&mut connack).is_err() {
        return false;
    }
    assert_eq!(connack, [0x20, 2, 0, 0], "the broker lets the client in");
    true
}

fn subscribe(socket: &mut TcpStream, filter: &str) {
    let packet = raw::subscribe_packet(Protocol::V3_1_1, 1, &[filter]);
    loop {
        send(socket, &packet);
        let mut suback = [0; 5];
        socket.read_exact(&mut suback).expect("the broker answers");
        if suback[4] < 0x80 {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

fn publishes(topic: &str, count: usize, qos: u8) -> Vec<u8> {
    let packet = |number: usize| {
        let id = (qos > 0).then(|| u16::try_from(number + 1).expect("a short burst"));
        raw::publish_packet(Protocol::V3_1_1, topic, &PAYLOAD, id)
    };
    (0..count).flat_map(packet).collect()
}

fn send(mut socket: &TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).expect("the broker reads");
}

/// Reads so many bytes.
fn receive(socket: &mut TcpStream, count: usize) {
    let mut bytes = [0; 4096];
    let mut left = count;
    while left > 0 {
        let most = left.min(bytes.len());
        let read = socket.read(&mut bytes[..most]).expect("the broker sends in time");
        assert!(read > 0, "the broker has closed a connection");
        left -= read;
    }
}

/// Reads whatever is there.
fn read_away(socket: &mut TcpStream) {
    socket.set_nonblocking(true).expect("the socket is sound");
    while socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    socket.set_nonblocking(false).expect("the socket is sound");
}
