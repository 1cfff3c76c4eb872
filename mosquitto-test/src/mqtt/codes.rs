//! MQTT 5 reason codes as the numbers of the standard: rumqttc only has names for them.

use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, PubAckReason, PubRecReason, SubscribeReasonCode, UnsubAckReason,
};

pub(super) fn connack(code: ConnectReturnCode) -> u8 {
    use ConnectReturnCode as Code;
    match code {
        Code::Success => 0,
        Code::RefusedProtocolVersion => 1,
        Code::BadClientId => 2,
        Code::ServiceUnavailable => 3,
        Code::UnspecifiedError => 0x80,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::UnsupportedProtocolVersion => 0x84,
        Code::ClientIdentifierNotValid => 0x85,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServerUnavailable => 0x88,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8a,
        Code::BadAuthenticationMethod => 0x8c,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9a,
        Code::QoSNotSupported => 0x9b,
        Code::UseAnotherServer => 0x9c,
        Code::ServerMoved => 0x9d,
        Code::ConnectionRateExceeded => 0x9f,
    }
}

pub(super) fn subscribe(code: &SubscribeReasonCode) -> u8 {
    use SubscribeReasonCode as Code;
    match code {
        Code::Success(qos) => *qos as u8,
        Code::Failure | Code::Unspecified => 0x80,
        Code::ImplementationSpecific => 0x83,
        Code::NotAuthorized => 0x87,
        Code::TopicFilterInvalid => 0x8f,
        Code::PkidInUse => 0x91,
        Code::QuotaExceeded => 0x97,
        Code::SharedSubscriptionsNotSupported => 0x9e,
        Code::SubscriptionIdNotSupported => 0xa1,
        Code::WildcardSubscriptionsNotSupported => 0xa2,
    }
}

pub(super) fn unsubscribe(code: &UnsubAckReason) -> u8 {
    use UnsubAckReason as Code;
    match code {
        Code::Success => 0,
        Code::NoSubscriptionExisted => 0x11,
        Code::UnspecifiedError => 0x80,
        Code::ImplementationSpecificError => 0x83,
        Code::NotAuthorized => 0x87,
        Code::TopicFilterInvalid => 0x8f,
        Code::PacketIdentifierInUse => 0x91,
    }
}

/// PUBACK and PUBREC have the same codes (MQTT 5.0, sections 3.4.2.1 and 3.5.2.1), and the client
/// library a type for each.
macro_rules! acknowledgement {
    ($reason:ident, $code:expr) => {{
        use $reason as Code;
        match $code {
            Code::Success => 0,
            Code::NoMatchingSubscribers => 0x10,
            Code::UnspecifiedError => 0x80,
            Code::ImplementationSpecificError => 0x83,
            Code::NotAuthorized => 0x87,
            Code::TopicNameInvalid => 0x90,
            Code::PacketIdentifierInUse => 0x91,
            Code::QuotaExceeded => 0x97,
            Code::PayloadFormatInvalid => 0x99,
        }
    }};
}

pub(super) fn puback(code: PubAckReason) -> u8 {
    acknowledgement!(PubAckReason, code)
}

/// A QoS 2 handshake goes on after the first two codes.
pub(super) fn pubrec(code: PubRecReason) -> u8 {
    acknowledgement!(PubRecReason, code)
}
