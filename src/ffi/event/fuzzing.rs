//! Events with whatever bytes a fuzzer likes, and the broker's accessors to go with them: what is
//! read must be what was put in, or nothing.

#![allow(clippy::panic, reason = "a finding is a panic")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use super::{AccessCheck, ControlMessage, Login, client_and_username, left_client, mosquitto};
use crate::question::{Access, CertificatePart, Client, Disconnection};

/// A client as this "broker" holds it; the accessors below look into it.
struct Held {
    id: Option<CString>,
    username: Option<CString>,
    address: Option<CString>,
    numbers: [c_int; 3],
    clean: bool,
}

/// Takes an input apart.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// As many bytes as the next two say.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A C string, or null.
    fn string(&mut self) -> Option<CString> {
        if self.byte() == 0 {
            return None;
        }
        let bytes = self.bytes();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        CString::new(&bytes[..end]).ok()
    }
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

/// What a string says; none if it is no text.
fn text(string: &Option<CString>) -> Option<Option<&str>> {
    match string {
        None => Some(None),
        Some(string) => string.to_str().ok().map(Some),
    }
}

/// Reads every kind of event made of these bytes.
pub(crate) fn event(data: &[u8]) {
    let mut input = Input(data);
    let held = Held {
        id: input.string(),
        username: input.string(),
        address: input.string(),
        numbers: [0; 3].map(|_| c_int::from(input.byte()) - 1),
        clean: input.byte() % 2 == 1,
    };
    let (password, topic) = (input.string(), input.string());
    let [access, qos, retain] = [0; 3].map(|_| input.byte());
    let payload = input.bytes();
    // A broker never hands over an event without a client, but null is not an address to look at.
    let client = if input.byte() == 255 { None } else { Some(&held) };
    let raw = client.map_or(ptr::null_mut(), |held| ptr::from_ref(held).cast_mut().cast());

    let id = client.and_then(|held| text(&held.id).flatten());
    let username = text(&held.username);
    login(raw, &held, id, username, &password);
    check(raw, id, username, &topic, (access, qos, retain % 2 == 1));
    control(raw, id, payload);

    let mut left: mosquitto::mosquitto_evt_disconnect = zeroed();
    left.client = raw;
    // SAFETY: the event, and the client if there is one, are alive.
    unsafe {
        let why = Some(Disconnection::ByClient);
        assert_eq!(left_client((&raw mut left).cast()), Some((raw as usize, why)));
        let read = client_and_username((&raw mut left).cast());
        let read = read.as_ref().map(|(client, name)| (client.id(), name.as_deref()));
        assert_eq!(read, id.and_then(|id| Some((id, username?))));
        assert!(Login::read(ptr::null_mut()).is_none());
    }
}

fn login(
    raw: *mut mosquitto::mosquitto,
    held: &Held,
    id: Option<&str>,
    username: Option<Option<&str>>,
    password: &Option<CString>,
) {
    let mut event: mosquitto::mosquitto_evt_basic_auth = zeroed();
    event.client = raw;
    event.username = pointer(&held.username).cast_mut();
    event.password = pointer(password).cast_mut();
    // SAFETY: the event and all that it points at are alive.
    let read = unsafe { Login::read((&raw mut event).cast()) };
    assert_eq!(read.is_some(), id.is_some() && username.is_some());
    let Some(read) = read else { return };
    assert_eq!((Some(read.client.id()), Some(read.username.as_deref())), (id, username));
    assert_eq!(read.password, password.as_ref().map_or(&[][..], |text| text.to_bytes()));
    let client = &read.client;
    assert_eq!(client.address(), text(&held.address).flatten());
    assert_eq!(client.handle(), raw as usize);
    assert_eq!(client.clean_session(), held.clean);
    assert!(["mqtt", "websockets"].contains(&client.protocol()));
    let numbers = [client.protocol_version(), client.keepalive()];
    assert_eq!(numbers, [1, 2].map(|n| u64::try_from(held.numbers[n]).unwrap_or(0)));
    assert_eq!(client.certificate(CertificatePart::Subject), None);
    assert!(client.set_username("new") && !client.set_username("n\0w"));
}

fn check(
    raw: *mut mosquitto::mosquitto,
    id: Option<&str>,
    username: Option<Option<&str>>,
    topic: &Option<CString>,
    (access, qos, retain): (u8, u8, bool),
) {
    let mut event: mosquitto::mosquitto_evt_acl_check = zeroed();
    event.client = raw;
    event.topic = pointer(topic);
    (event.access, event.qos, event.retain) = (access.into(), qos, retain);
    // SAFETY: the event and all that it points at are alive.
    let read = unsafe { AccessCheck::read((&raw mut event).cast()) };
    let known = match access {
        1 => Some(Access::Read),
        2 => Some(Access::Write),
        4 => Some(Access::Subscribe),
        8 => Some(Access::Unsubscribe),
        _ => None,
    };
    let topic = text(topic).flatten();
    let is_whole = id.is_some() && username.is_some() && known.is_some() && topic.is_some();
    assert_eq!(read.is_some(), is_whole);
    let Some(read) = read else { return };
    assert_eq!((Some(read.client.id()), Some(read.username)), (id, username));
    assert_eq!((Some(read.action.topic), Some(read.action.access)), (topic, known));
    assert_eq!((read.action.qos, read.action.retain), (qos, retain));
}

fn control(raw: *mut mosquitto::mosquitto, id: Option<&str>, payload: &[u8]) {
    let mut event: mosquitto::mosquitto_evt_control = zeroed();
    event.client = raw;
    // An empty payload is null.
    if !payload.is_empty() {
        event.payload = payload.as_ptr().cast();
    }
    event.payloadlen = u32::try_from(payload.len()).unwrap_or(0);
    // SAFETY: the event and all that it points at are alive.
    let read = unsafe { ControlMessage::read((&raw mut event).cast()) };
    let read = read.as_ref().map(|message| (message.client.id(), message.payload));
    assert_eq!(read, id.map(|id| (id, payload)));
}

/// An event that has nothing in it.
fn zeroed<T: Copy>() -> T {
    // SAFETY: this is used for the broker's events, plain data for which all zeroes are valid.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// Null, or a [`Held`] that is alive.
unsafe fn held<'a>(client: *const mosquitto::mosquitto) -> Option<&'a Held> {
    // SAFETY: as the caller says.
    unsafe { client.cast::<Held>().as_ref() }
}

/// The broker's accessors. Like the real ones, those of text give null for a client that is null.
macro_rules! accessors {
    ($($name:ident -> $returned:ty = |$held:ident| $value:expr, else $default:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(client: *const mosquitto::mosquitto) -> $returned {
            // SAFETY: only events of this file have clients here.
            unsafe { held(client) }.map_or($default, |$held| $value)
        }
    )*};
}

accessors! {
    mosquitto_client_id -> *const c_char = |held| pointer(&held.id), else ptr::null();
    mosquitto_client_username -> *const c_char = |held| pointer(&held.username), else ptr::null();
    mosquitto_client_address -> *const c_char = |held| pointer(&held.address), else ptr::null();
    mosquitto_client_protocol -> c_int = |held| held.numbers[0], else 0;
    mosquitto_client_protocol_version -> c_int = |held| held.numbers[1], else 0;
    mosquitto_client_keepalive -> c_int = |held| held.numbers[2], else 0;
    mosquitto_client_clean_session -> bool = |held| held.clean, else false;
    mosquitto_client_certificate -> *mut c_void = |_held| ptr::null_mut(), else ptr::null_mut();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mosquitto_set_username(
    _client: *mut mosquitto::mosquitto,
    username: *const c_char,
) -> c_int {
    // SAFETY: the plugin gives a C string, which this reads to its end.
    c_int::from(unsafe { CStr::from_ptr(username) }.is_empty())
}
