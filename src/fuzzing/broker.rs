//! A simulated broker's clients.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::ledger::{Asked, Subject};
use crate::question::{Access, CertificatePart, Client};

/// How far a client has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The broker asks about it at this moment.
    Connecting,
    Waiting,
    In,
    /// It left, and its session is kept.
    Offline,
}

/// A client's connection, and the session that it has.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub identity: Rc<Identity>,
    /// Which of the two instances its listener has.
    pub instance: usize,
    pub username: String,
    pub password: String,
    pub stage: Stage,
    /// Whether the broker keeps its session when it leaves.
    pub keep: bool,
    pub filters: BTreeSet<String>,
    /// At which event it came.
    pub began: u64,
}

impl Connection {
    /// The question about its login.
    pub(super) fn login(&self) -> Asked {
        self.asked(Subject::Login { password: self.password.clone() })
    }

    /// The question about a topic.
    pub(super) fn access(&self, topic: &str, access: Access) -> Asked {
        // As the API is told.
        let access = match access {
            Access::Read => Some(1),
            Access::Write => Some(2),
            Access::Subscribe => Some(4),
            Access::Unsubscribe => None,
        };
        self.asked(Subject::Access { topic: topic.to_owned(), access })
    }

    fn asked(&self, subject: Subject) -> Asked {
        Asked { instance: self.instance, username: self.username.clone(), subject }
    }
}

/// What the plugin sees of a client.
#[derive(Debug)]
pub(super) struct Identity {
    pub id: String,
    pub handle: usize,
    /// By which identifier the broker knows it, and leaves nobody else to wait.
    id_at_broker: RefCell<String>,
    address: RefCell<Option<&'static str>>,
    keep: bool,
    name: RefCell<String>,
}

impl Identity {
    pub(super) fn new(id: &str, handle: usize, name: &str, keep: bool) -> Self {
        let id_at_broker = RefCell::new(id.to_owned());
        let (address, name) = (RefCell::new(Some("192.0.2.7")), RefCell::new(name.to_owned()));
        Self { id: id.to_owned(), handle, id_at_broker, address, keep, name }
    }

    /// By which name the broker knows it now.
    pub(super) fn name(&self) -> String {
        self.name.borrow().clone()
    }

    pub(crate) fn id_at_broker(&self) -> String {
        self.id_at_broker.borrow().clone()
    }

    pub(crate) fn lose_address(&self) {
        self.address.replace(None);
    }
}

impl Client for Identity {
    fn id(&self) -> &str {
        &self.id
    }
    fn address(&self) -> Option<&str> {
        *self.address.borrow()
    }
    fn protocol(&self) -> &'static str {
        "mqtt"
    }
    fn protocol_version(&self) -> u64 {
        4
    }
    fn keepalive(&self) -> u64 {
        60
    }
    fn clean_session(&self) -> bool {
        !self.keep
    }
    fn certificate(&self, _: CertificatePart) -> Option<String> {
        None
    }
    fn handle(&self) -> usize {
        self.handle
    }
    fn set_username(&self, username: &str) -> bool {
        username.clone_into(&mut self.name.borrow_mut());
        true
    }
    fn set_id(&self, id: &str) -> bool {
        id.clone_into(&mut self.id_at_broker.borrow_mut());
        true
    }
}
