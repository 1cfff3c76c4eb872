//! A client that exists on the command line only.

#![forbid(unsafe_code)]

use mosquitto_http_auth::question::{CertificatePart, Client};

use crate::args::{ClientFacts, MqttVersion, Transport};

impl Client for ClientFacts {
    fn id(&self) -> &str {
        &self.id
    }

    fn address(&self) -> Option<&str> {
        Some(&self.address)
    }

    fn protocol(&self) -> &'static str {
        match self.protocol {
            Transport::Mqtt => "mqtt",
            Transport::Websockets => "websockets",
        }
    }

    fn protocol_version(&self) -> u64 {
        match self.mqtt_version {
            MqttVersion::V3_1 => 3,
            MqttVersion::V3_1_1 => 4,
            MqttVersion::V5 => 5,
        }
    }

    fn keepalive(&self) -> u64 {
        self.keepalive.into()
    }

    fn clean_session(&self) -> bool {
        !self.keep_session
    }

    fn certificate(&self, part: CertificatePart) -> Option<String> {
        match part {
            CertificatePart::CommonName => self.cert_common_name.clone(),
            CertificatePart::Subject => self.cert_subject.clone(),
            CertificatePart::Issuer => self.cert_issuer.clone(),
            CertificatePart::Serial => self.cert_serial.clone(),
            CertificatePart::Fingerprint => self.cert_fingerprint.clone(),
            CertificatePart::Pem => self.cert_pem.clone(),
        }
    }

    fn handle(&self) -> usize {
        1
    }

    fn set_username(&self, _: &str) -> bool {
        // Whoever asks on passes the name along.
        true
    }
    fn set_id(&self, _: &str) -> bool {
        false
    }
}
