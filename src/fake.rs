//! Stand-ins for the broker's side, for unit tests.

#![forbid(unsafe_code)]

use crate::question::{CertificatePart, Client};

/// A client of which everything is known.
#[derive(Clone)]
pub(crate) struct FakeClient {
    pub id: String,
    pub address: Option<String>,
    pub certificate: Option<(String, String)>,
    pub(crate) username_at_broker: std::cell::RefCell<Option<String>>,
}

impl Default for FakeClient {
    fn default() -> Self {
        Self {
            id: "client-1".into(),
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
        true
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
        std::ptr::from_ref(self) as usize
    }
    fn set_username(&self, username: &str) -> bool {
        *self.username_at_broker.borrow_mut() = Some(username.to_owned());
        true
    }
    fn set_id(&self, _: &str) -> bool {
        false
    }
}
