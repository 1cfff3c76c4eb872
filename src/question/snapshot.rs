//! What is kept of a client, for when the broker does not show it.

#![forbid(unsafe_code)]

use super::{CertificatePart, Client};

/// A client as it was at some time, for questions that are asked ahead of the broker, or after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSnapshot {
    pub username: String,
    pub id: String,
    pub address: Option<String>,
    pub protocol: &'static str,
    pub protocol_version: u64,
    pub keepalive: u64,
    pub clean_session: bool,
    pub certificate: Vec<(CertificatePart, String)>,
    pub handle: usize,
}

impl ClientSnapshot {
    /// Of the certificate it keeps the parts that questions tell of.
    #[must_use]
    pub(crate) fn of(client: &dyn Client, username: &str, parts: &[CertificatePart]) -> Self {
        let known = |part: &CertificatePart| Some((*part, client.certificate(*part)?));
        Self {
            username: username.to_owned(),
            id: client.id().to_owned(),
            address: client.address().map(str::to_owned),
            protocol: client.protocol(),
            protocol_version: client.protocol_version(),
            keepalive: client.keepalive(),
            clean_session: client.clean_session(),
            certificate: parts.iter().filter_map(known).collect(),
            handle: client.handle(),
        }
    }

    /// About how much memory it takes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let certificate = self.certificate.iter().map(|(_, text)| text.len()).sum::<usize>();
        let address = self.address.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.username.len() + self.id.len() + address + certificate
    }

    /// A client of which no more is known than its names, and its handle if it is connected.
    #[must_use]
    pub fn named(handle: usize, id: &str, username: &str) -> Self {
        Self {
            username: username.to_owned(),
            id: id.to_owned(),
            address: None,
            protocol: "mqtt",
            protocol_version: 0,
            keepalive: 0,
            clean_session: true,
            certificate: Vec::new(),
            handle,
        }
    }
}

impl Client for ClientSnapshot {
    fn id(&self) -> &str {
        &self.id
    }
    fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
    fn protocol(&self) -> &'static str {
        self.protocol
    }
    fn protocol_version(&self) -> u64 {
        self.protocol_version
    }
    fn keepalive(&self) -> u64 {
        self.keepalive
    }
    fn clean_session(&self) -> bool {
        self.clean_session
    }
    fn certificate(&self, part: CertificatePart) -> Option<String> {
        self.certificate.iter().find(|(known, _)| *known == part).map(|(_, text)| text.clone())
    }
    fn handle(&self) -> usize {
        self.handle
    }
    fn set_username(&self, _: &str) -> bool {
        false
    }
    fn set_id(&self, _: &str) -> bool {
        false
    }
}
