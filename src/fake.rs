//! Stand-ins for the broker's side, for unit tests.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::thread::{Builder, JoinHandle};

use log::Level;

use crate::broker::{Broker, Delivery};
use crate::config::{self, Config};
use crate::question::{CertificatePart, Client, Properties};

/// Options as the broker hands them over.
pub(crate) fn pairs(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The configuration of these options.
#[track_caller]
pub(crate) fn config(options: &[(&str, &str)]) -> Config {
    config::read(&pairs(options)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    static WAITING: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
}

/// A worker that waits until the test has it work, see [`work_all`].
pub(crate) fn spawn(_: String, work: Work) -> io::Result<JoinHandle<()>> {
    WAITING.with_borrow_mut(|waiting| waiting.push(work));
    Builder::new().spawn(|| {})
}

/// All workers work that wait on this thread.
pub(crate) fn work_all() {
    while let Some(work) = WAITING.with_borrow_mut(Vec::pop) {
        work();
    }
}

/// A broker that remembers what it was given to publish, and counts whom it closes.
#[derive(Default)]
pub(crate) struct FakeBroker {
    /// Topics and payloads.
    pub(crate) retained: RefCell<Vec<(String, String)>>,
    pub(crate) closed: Cell<usize>,
}

impl Broker for FakeBroker {
    fn log(&self, _: Level, _: &str) {}
    fn finish_login(&self, _: &str, _: bool) {}
    fn close_by_username(&self, _: &str) {
        self.closed.set(self.closed.get() + 1);
    }
    fn publish_to(&self, _: &str, _: &str, _: &str) {}
    fn deliver(&self, _: &str, _: &Delivery<'_>, _: Option<Properties>) {}
    fn publish_retained(&self, topic: &str, payload: &str) {
        self.retained.borrow_mut().push((topic.to_owned(), payload.to_owned()));
    }
    fn disconnect(&self, _: &str) {}
}

/// A client of which everything is known.
#[derive(Clone)]
pub(crate) struct FakeClient {
    pub id: String,
    /// None: where it lies in memory.
    pub handle: Option<usize>,
    pub clean_session: bool,
    pub address: Option<String>,
    pub certificate: Option<(String, String)>,
    pub(crate) username_at_broker: RefCell<Option<String>>,
}

impl Default for FakeClient {
    fn default() -> Self {
        Self {
            id: "client-1".into(),
            handle: None,
            clean_session: true,
            address: Some("192.0.2.7".into()),
            certificate: None,
            username_at_broker: None.into(),
        }
    }
}

impl Client for FakeClient {
    fn id(&self) -> &str {
        &self.id
    }
    fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
    fn protocol(&self) -> &'static str {
        "mqtt"
    }
    fn protocol_version(&self) -> u64 {
        5
    }
    fn keepalive(&self) -> u64 {
        60
    }
    fn clean_session(&self) -> bool {
        self.clean_session
    }
    fn certificate(&self, part: CertificatePart) -> Option<String> {
        let (common_name, subject) = self.certificate.clone()?;
        match part {
            CertificatePart::CommonName => Some(common_name),
            CertificatePart::Subject => Some(subject),
            _ => None,
        }
    }
    fn handle(&self) -> usize {
        self.handle.unwrap_or(std::ptr::from_ref(self) as usize)
    }
    fn set_username(&self, username: &str) -> bool {
        *self.username_at_broker.borrow_mut() = Some(username.to_owned());
        true
    }
    fn set_id(&self, _: &str) -> bool {
        false
    }
}
