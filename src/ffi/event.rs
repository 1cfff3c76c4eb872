//! Events of the broker as borrowed Rust values, and decisions as its return codes.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

use once_cell::sync::Lazy;

use super::bindings as mosquitto;
use super::certificate::Certificate;
use super::properties::PropertyList;
use super::symbol::symbol;
use crate::answer::Decision;
use crate::plugin::{AccessReply, LoginReply};
use crate::question::{
    Access, Action, CertificatePart, Client, Disconnection, MessageFlags, Payload, Properties,
    RawAclCheck,
};

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

/// What a login event holds.
pub(crate) struct Login<'a> {
    pub client: BrokerClient<'a>,
    /// A copy: the plugin may rename the client, and the broker then frees its own.
    pub username: Option<String>,
    /// Up to the first NUL, where the broker's string ends; empty if there was none.
    pub password: &'a [u8],
}

/// What an ACL event holds.
pub(crate) struct AccessCheck<'a> {
    pub client: BrokerClient<'a>,
    pub username: Option<&'a str>,
    pub action: Action<'a>,
    pub message: BrokerMessage<'a>,
}

/// The message that an ACL event is about.
pub(crate) struct BrokerMessage<'a> {
    payload: &'a [u8],
    properties: *const mosquitto::mosquitto_property,
}

/// What a control event holds.
pub(crate) struct ControlMessage<'a> {
    pub client: BrokerClient<'a>,
    pub payload: &'a [u8],
}

/// A client as the broker holds it, for the length of one callback.
pub(crate) struct BrokerClient<'a> {
    raw: *const mosquitto::mosquitto,
    id: Cow<'a, str>,
}

impl Login<'_> {
    /// Reads the event; none if a name in it is not what the broker promises.
    ///
    /// # Safety
    /// `data` is what the broker handed to a basic-auth callback that has not returned yet, and
    /// the value does not outlive that callback.
    pub(crate) unsafe fn read(data: *mut c_void) -> Option<Self> {
        // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
        unsafe {
            let event = data.cast::<mosquitto::mosquitto_evt_basic_auth>().as_ref()?;
            Some(Self {
                client: BrokerClient::new(event.client)?.with_copied_id(),
                username: text(event.username).ok()?.map(str::to_owned),
                password: bytes(event.password).unwrap_or_default(),
            })
        }
    }
}

impl AccessCheck<'_> {
    /// Reads the event; none if a name in it is not what the broker promises.
    ///
    /// # Safety
    /// `data` is what the broker handed to an ACL callback that has not returned yet, and the
    /// value does not outlive that callback.
    pub(crate) unsafe fn read(data: *mut c_void) -> Option<Self> {
        // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
        unsafe {
            let event = data.cast::<mosquitto::mosquitto_evt_acl_check>().as_ref()?;
            Some(Self {
                client: BrokerClient::new(event.client)?,
                username: text(mosquitto::mosquitto_client_username(event.client)).ok()?,
                action: Action {
                    access: access(event.access)?,
                    topic: text(event.topic).ok()??,
                    qos: event.qos,
                    retain: event.retain,
                },
                message: BrokerMessage {
                    payload: payload(event.payload, event.payloadlen)?,
                    properties: event.properties,
                },
            })
        }
    }
}

/// What an ACL event is about.
///
/// # Safety
/// As [`AccessCheck::read`].
pub(crate) unsafe fn access_of(data: *mut c_void) -> Option<Access> {
    // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
    let event = unsafe { data.cast::<mosquitto::mosquitto_evt_acl_check>().as_ref()? };
    access(event.access)
}

/// Whether an ACL event is about a client of MQTT 5.
///
/// # Safety
/// As [`AccessCheck::read`].
pub(crate) unsafe fn is_of_mqtt_5(data: *mut c_void) -> bool {
    // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
    unsafe {
        let event = data.cast::<mosquitto::mosquitto_evt_acl_check>().as_ref();
        event.is_some_and(|event| mosquitto::mosquitto_client_protocol_version(event.client) == 5)
    }
}

/// The handle of the client that an ACL event is about, if it is about this topic.
///
/// # Safety
/// As [`AccessCheck::read`].
pub(crate) unsafe fn publisher(data: *mut c_void, topic: &str) -> Option<usize> {
    // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
    unsafe {
        let event = data.cast::<mosquitto::mosquitto_evt_acl_check>().as_ref()?;
        (bytes(event.topic)? == topic.as_bytes()).then_some(event.client as usize)
    }
}

/// A first look at an ACL event; none if it is about nothing that is asked over and over.
///
/// # Safety
/// As [`AccessCheck::read`].
pub(crate) unsafe fn raw_check<'a>(data: *mut c_void) -> Option<RawAclCheck<'a>> {
    // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
    unsafe {
        let event = data.cast::<mosquitto::mosquitto_evt_acl_check>().as_ref()?;
        let access = access(event.access)?;
        if !matches!(access, Access::Read | Access::Write) {
            return None;
        }
        Some(RawAclCheck {
            handle: event.client as usize,
            client_id: bytes(mosquitto::mosquitto_client_id(event.client))?,
            username: bytes(mosquitto::mosquitto_client_username(event.client))?,
            topic: bytes(event.topic)?,
            access,
            flags: MessageFlags::of(access, event.qos, event.retain),
        })
    }
}

impl ControlMessage<'_> {
    /// Reads the event; none if a name in it is not what the broker promises.
    ///
    /// # Safety
    /// `data` is what the broker handed to a control callback that has not returned yet, and the
    /// value does not outlive that callback.
    pub(crate) unsafe fn read(data: *mut c_void) -> Option<Self> {
        // SAFETY: as the caller says; the layout is the same on every supported broker (shim.c).
        unsafe {
            let event = data.cast::<mosquitto::mosquitto_evt_control>().as_ref()?;
            let payload = payload(event.payload, event.payloadlen)?;
            Some(Self { client: BrokerClient::new(event.client)?, payload })
        }
    }
}

/// Reads the client of a DISCONNECT event, and of the events of 2.1 that begin alike; its username
/// is a copy.
///
/// # Safety
/// `data` is what the broker handed to a callback of one of these events that has not returned
/// yet, and the value does not outlive that callback.
pub(crate) unsafe fn client_and_username<'a>(
    data: *mut c_void,
) -> Option<(BrokerClient<'a>, Option<String>)> {
    // SAFETY: as the caller says; all of these events begin with a pointer and the client.
    unsafe {
        let event = data.cast::<mosquitto::mosquitto_evt_disconnect>().as_ref()?;
        let client = BrokerClient::new(event.client)?;
        let username = text(mosquitto::mosquitto_client_username(event.client)).ok()?;
        Some((client, username.map(str::to_owned)))
    }
}

/// The address of the client that has left, which may not be looked into, as it may be half gone; and why
/// it has, where the broker knows.
///
/// # Safety
/// As [`client_and_username`].
pub(crate) unsafe fn left_client(data: *mut c_void) -> Option<(usize, Option<Disconnection>)> {
    // SAFETY: as the caller says.
    let event = unsafe { data.cast::<mosquitto::mosquitto_evt_disconnect>().as_ref()? };
    Some((event.client as usize, disconnection(event.reason)))
}

/// What the broker's own errors, and reason codes of MQTT 5 (section 3.14.2.1), say of the end of a connection.
/// Mosquitto 2.0 says -1 of each.
fn disconnection(reason: c_int) -> Option<Disconnection> {
    match reason {
        ..0 => None,
        0 | 4 => Some(Disconnection::ByClient),
        7 => Some(Disconnection::ConnectionLost),
        19 | 141 => Some(Disconnection::KeepAlive),
        142 => Some(Disconnection::TakenOver),
        152 => Some(Disconnection::Kicked),
        _ => Some(Disconnection::Error),
    }
}

/// A payload, which is empty if it is null.
///
/// # Safety
/// `start` is null, or begins so many bytes that outlive the returned slice.
unsafe fn payload<'a>(start: *const c_void, length: u32) -> Option<&'a [u8]> {
    if start.is_null() {
        return Some(&[]);
    }
    let length = usize::try_from(length).ok()?;
    // SAFETY: as the caller says.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

impl Payload for BrokerMessage<'_> {
    fn bytes(&self) -> &[u8] {
        self.payload
    }

    fn properties(&self) -> Option<Properties> {
        // SAFETY: the event's list, which lives as long as this value (`AccessCheck::read`).
        unsafe { PropertyList::copy(self.properties) }
    }
}

fn access(number: c_int) -> Option<Access> {
    match u32::try_from(number).ok()? {
        mosquitto::MOSQ_ACL_READ => Some(Access::Read),
        mosquitto::MOSQ_ACL_WRITE => Some(Access::Write),
        mosquitto::MOSQ_ACL_SUBSCRIBE => Some(Access::Subscribe),
        mosquitto::MOSQ_ACL_UNSUBSCRIBE => Some(Access::Unsubscribe),
        _ => None,
    }
}

/// A C string as text: none if it is null.
///
/// # Safety
/// `start` is null or a C string that outlives the returned text.
unsafe fn text<'a>(start: *const c_char) -> Result<Option<&'a str>, std::str::Utf8Error> {
    // SAFETY: as the caller says.
    let Some(bytes) = (unsafe { bytes(start) }) else { return Ok(None) };
    // Nearly every name is ASCII, which is told much faster.
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(Some(unsafe { std::str::from_utf8_unchecked(bytes) }));
    }
    std::str::from_utf8(bytes).map(Some)
}

/// # Safety
/// `start` is null or a C string that outlives the returned bytes.
unsafe fn bytes<'a>(start: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { CStr::from_ptr(start) }.to_bytes())
}

impl BrokerClient<'_> {
    /// # Safety
    /// `raw` is a client that the broker handed to a callback that has not returned yet, and the
    /// value does not outlive that callback.
    unsafe fn new(raw: *const mosquitto::mosquitto) -> Option<Self> {
        // SAFETY: the broker gives the identifier of a client that is alive, as the caller says.
        let id = unsafe { text(mosquitto::mosquitto_client_id(raw)) }.ok()??;
        Some(Self { raw, id: Cow::Borrowed(id) })
    }

    /// The same client, for who may give it another identifier: the broker then frees its own.
    fn with_copied_id(self) -> Self {
        Self { raw: self.raw, id: Cow::Owned(self.id.into_owned()) }
    }
}

/// Keeps each accessor's SAFETY comment in one place: all of them only read the client.
macro_rules! ask_broker {
    ($client:expr, $function:ident) => {{
        // SAFETY: `BrokerClient::new` was promised a client that lives as long as this value.
        unsafe { mosquitto::$function($client.raw) }
    }};
}

impl Client for BrokerClient<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    fn address(&self) -> Option<&str> {
        let address = ask_broker!(self, mosquitto_client_address);
        // SAFETY: the address belongs to the client, and so lives as long as this value.
        unsafe { text(address) }.ok()?
    }

    fn protocol(&self) -> &'static str {
        let websockets = mosquitto::mp_websockets as c_int;
        if ask_broker!(self, mosquitto_client_protocol) as c_int == websockets {
            "websockets"
        } else {
            "mqtt"
        }
    }

    fn protocol_version(&self) -> u64 {
        u64::try_from(ask_broker!(self, mosquitto_client_protocol_version)).unwrap_or(0)
    }

    fn keepalive(&self) -> u64 {
        u64::try_from(ask_broker!(self, mosquitto_client_keepalive)).unwrap_or(0)
    }

    fn clean_session(&self) -> bool {
        ask_broker!(self, mosquitto_client_clean_session)
    }

    fn certificate(&self, part: CertificatePart) -> Option<String> {
        let x509 = ask_broker!(self, mosquitto_client_certificate);
        // SAFETY: the broker hands over a reference of its own for each call.
        unsafe { Certificate::from_broker(x509) }?.part(part)
    }

    fn handle(&self) -> usize {
        self.raw as usize
    }

    fn set_username(&self, username: &str) -> bool {
        let Ok(name) = CString::new(username) else { return false };
        // SAFETY: the client is alive; nothing here borrows the name that the broker now frees.
        let code = unsafe { mosquitto::mosquitto_set_username(self.raw.cast_mut(), name.as_ptr()) };
        code as c_int == mosquitto::MOSQ_ERR_SUCCESS as c_int
    }

    fn set_id(&self, id: &str) -> bool {
        // Whoever has borrowed the broker's own text must not see it freed.
        let (Cow::Owned(_), Some(set), Ok(id)) = (&self.id, *SET_CLIENT_ID, CString::new(id))
        else {
            return false;
        };
        // SAFETY: the client is alive, and its login is being asked about, when the broker allows any identifier; the new
        // one ends in NUL, and nothing here borrows the one that the broker now frees.
        unsafe { set(self.raw.cast_mut(), id.as_ptr()) == mosquitto::MOSQ_ERR_SUCCESS as c_int }
    }
}

/// `mosquitto_set_clientid`, where the broker has it.
type SetClientId = unsafe extern "C" fn(*mut mosquitto::mosquitto, *const c_char) -> c_int;
static SET_CLIENT_ID: Lazy<Option<SetClientId>> = Lazy::new(|| {
    let address = symbol(c"mosquitto_set_clientid")?;
    // SAFETY: this is the function's signature in every broker that has it.
    Some(unsafe { std::mem::transmute::<*mut c_void, SetClientId>(address) })
});

/// `MOSQ_ERR_AUTH_DELAYED` and `MOSQ_ERR_SERVER_UNAVAILABLE`, which the headers of 2.0 lack. They
/// are returned only to brokers of 2.1, where they mean what they say.
const AUTH_DELAYED: c_int = -5;
const SERVER_UNAVAILABLE: c_int = 136;

/// What a login callback returns. Every supported broker closes the connection without a CONNACK
/// on `UNKNOWN`, which alone makes a client try again.
pub(crate) fn login_code(reply: LoginReply) -> c_int {
    match reply {
        LoginReply::Now(Decision::Allow) => mosquitto::MOSQ_ERR_SUCCESS as c_int,
        LoginReply::Now(Decision::Deny) => mosquitto::MOSQ_ERR_AUTH as c_int,
        LoginReply::Now(Decision::Defer) => mosquitto::MOSQ_ERR_PLUGIN_DEFER as c_int,
        LoginReply::Now(Decision::Unavailable) => mosquitto::MOSQ_ERR_UNKNOWN as c_int,
        LoginReply::Now(Decision::UnavailableWithReason) => SERVER_UNAVAILABLE,
        LoginReply::Later => AUTH_DELAYED,
    }
}

/// What an ACL callback returns: 0, 12 or 17. Any other code ends the connection of whoever publishes or
/// subscribes; on a delivery that would be the publisher's, so there it is never returned.
pub(crate) fn access_code(reply: AccessReply, access: Access) -> c_int {
    (match reply {
        AccessReply::Allow => mosquitto::MOSQ_ERR_SUCCESS,
        AccessReply::Close if access != Access::Read => mosquitto::MOSQ_ERR_UNKNOWN,
        AccessReply::Deny | AccessReply::Close => mosquitto::MOSQ_ERR_ACL_DENIED,
        AccessReply::Defer => mosquitto::MOSQ_ERR_PLUGIN_DEFER,
    }) as c_int
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Decision; 5] = [
        Decision::Allow,
        Decision::Deny,
        Decision::Defer,
        Decision::Unavailable,
        Decision::UnavailableWithReason,
    ];

    #[test]
    fn logins_return_the_codes_that_the_brokers_understand() {
        assert_eq!(ALL.map(|decision| login_code(LoginReply::Now(decision))), [0, 11, 17, 13, 136]);
        assert_eq!(login_code(LoginReply::Later), -5);
    }

    #[test]
    fn only_a_publish_or_a_subscription_can_end_a_connection() {
        use AccessReply::{Allow, Close, Defer, Deny};
        let codes = |access| [Allow, Deny, Defer, Close].map(|reply| access_code(reply, access));
        assert_eq!(codes(Access::Read), [0, 12, 17, 12]);
        assert_eq!(codes(Access::Write), [0, 12, 17, 13]);
        assert_eq!(codes(Access::Subscribe), [0, 12, 17, 13]);
    }
}
