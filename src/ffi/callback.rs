//! What the broker calls while an instance runs: its callbacks.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::bindings as mosquitto;
use super::broker_waker::BrokerWaker;
use super::event::{
    AccessCheck, ControlMessage, Login, access_code, access_of, client_and_username, is_of_mqtt_5,
    left_client, login_code, publisher, raw_check,
};
use super::guard::{catch_panic, has_panicked, panicked_at};
use super::host::{self, Host};
use super::properties::has_no_properties;
use super::traces::wipe_traces;
use crate::answer::Decision;
use crate::failpoint;
use crate::plugin::{AccessReply, Attempt, CONTROL_TOPIC, Check, LoginReply, Plugin};
use crate::question::{Access, Departure};
use crate::sealed;

/// What the broker carries for one instance, and hands back with every event.
pub(crate) struct Instance {
    pub plugin: Plugin,
    /// How the broker knows it, for taking the callbacks back.
    pub identifier: *mut mosquitto::mosquitto_plugin_id_t,
    /// The broker's own thread. (2.1 asks about its HTTP API from another one.)
    pub main: libc::pthread_t,
    /// What a RELOAD callback has to return: 2.1 ends the broker on anything but success, and 2.0
    /// asks no further plugin after anything but a deferral.
    pub(crate) reloaded: c_int,
    /// Wakes the broker; none where no signal is free for that.
    pub(crate) waker: Option<Arc<BrokerWaker>>,
}

impl Instance {
    /// Ends every request and joins every thread; once more does nothing.
    pub(crate) fn end(&self) {
        self.plugin.shut_down();
        // Last: what the workers leave behind still wakes the broker.
        if let Some(waker) = &self.waker {
            waker.close();
        }
    }
}

/// Whatever happens on the way out, no thread is left when the broker unloads the library.
impl Drop for Instance {
    fn drop(&mut self) {
        self.end();
    }
}

/// Which thread this is, in the cheapest of ways: every callback asks.
pub(crate) fn this_thread() -> libc::pthread_t {
    // SAFETY: the call has no conditions.
    unsafe { libc::pthread_self() }
}

pub(crate) type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

/// Events of 2.1, which the headers of 2.0 lack.
const CONNECT: c_int = 11;
const CLIENT_OFFLINE: c_int = 28;

/// 2.0's number for a message that a client has published; 2.1 tells what it is asked for in the check itself.
const MESSAGE: c_int = 7;

static CALLBACKS: [(c_int, Callback); 8] = [
    // The first is for 2.0 alone, and the last two are for 2.1.
    (MESSAGE, message),
    (mosquitto::MOSQ_EVT_BASIC_AUTH as c_int, basic_auth),
    (mosquitto::MOSQ_EVT_ACL_CHECK as c_int, acl_check),
    (mosquitto::MOSQ_EVT_RELOAD as c_int, reload),
    (mosquitto::MOSQ_EVT_TICK as c_int, tick),
    (mosquitto::MOSQ_EVT_DISCONNECT as c_int, disconnect),
    (CONNECT, connect),
    (CLIENT_OFFLINE, offline),
];

/// Those of the callbacks that the broker knows.
pub(crate) fn callbacks() -> &'static [(c_int, Callback)] {
    if host::is_2_1() { &CALLBACKS[1..] } else { &CALLBACKS[..6] }
}

const SUCCESS: c_int = mosquitto::MOSQ_ERR_SUCCESS as c_int;

/// What every callback has in common: the guard, the traces of passwords, and the log lines that wait. The body gets
/// the host where it runs on the broker's own thread; 2.1 asks about its HTTP API on another.
///
/// # Safety
/// `userdata` is the instance that was registered with the callback.
unsafe fn called(
    userdata: *mut c_void,
    refusal: c_int,
    body: impl FnOnce(&Instance, Option<&Host>) -> c_int,
) -> c_int {
    // SAFETY: as the caller says; the instance is shared between callbacks, never changed.
    let Some(instance) = (unsafe { userdata.cast::<Instance>().as_ref() }) else { return refusal };
    // SAFETY: this is the broker's main thread, inside a callback.
    let host = (this_thread() == instance.main).then(|| unsafe { Host::on_its_own_thread() });
    let report = |place: &str| instance.plugin.note_panic(place);
    let code = catch_panic(refusal, report, || body(instance, host.as_ref()));
    if sealed::has_opened() {
        wipe_traces();
    }
    if let Some(host) = host.filter(|_| instance.plugin.has_log_lines() || has_panicked()) {
        return catch_panic(
            code,
            |_| {},
            || {
                panicked_at().iter().for_each(|place| instance.plugin.note_panic(place));
                instance.plugin.write_log(&host);
                code
            },
        );
    }
    code
}

unsafe extern "C" fn basic_auth(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    let refusal = login_code(LoginReply::Now(Decision::Deny));
    // SAFETY: the broker calls with the registered instance and a login event.
    let code = unsafe {
        called(userdata, refusal, |instance, host| {
            failpoint::reached("basic_auth");
            let Some(login) = Login::read(data) else { return refusal };
            if let Some(host) = host {
                instance.plugin.tick_if_overdue(host);
            }
            login_code(instance.plugin.login(&Attempt {
                client: &login.client,
                username: login.username.as_deref(),
                password: login.password,
                broker: host.map(|host| host as _),
            }))
        })
    };
    wipe_traces();
    code
}

unsafe extern "C" fn acl_check(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    let refusal = access_code(AccessReply::Deny, Access::Read);
    // SAFETY: the broker calls with the registered instance and an ACL event.
    unsafe {
        called(userdata, refusal, |instance, host| {
            failpoint::reached("acl_check");
            if let Some(host) = host {
                if access_of(data) == Some(Access::Write) {
                    instance.plugin.message_begins(is_of_mqtt_5(data), host::is_2_1());
                    instance.plugin.look_up_if_overdue(host);
                    if let Some(handle) = publisher(data, CONTROL_TOPIC) {
                        instance.plugin.asked_about_commands(handle);
                    }
                }
                if raw_check(data).is_some_and(|raw_check| instance.plugin.recall(&raw_check)) {
                    return access_code(AccessReply::Allow, Access::Read);
                }
            }
            let Some(check) = AccessCheck::read(data) else { return refusal };
            let reply = instance.plugin.access(&Check {
                client: &check.client,
                username: check.username,
                action: check.action,
                message: Some(&check.message),
                broker: host.map(|host| host as _),
            });
            access_code(reply, check.action.access)
        })
    }
}

/// A client has published, and its ACL allows that (2.0).
unsafe extern "C" fn message(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance and a MESSAGE event.
    unsafe {
        called(userdata, SUCCESS, |instance, _| {
            if has_no_properties(data) {
                instance.plugin.message_has_no_properties();
            }
            SUCCESS
        })
    }
}

/// A client published to the control topic, and its ACL allows that.
pub(crate) unsafe extern "C" fn control(
    _: c_int,
    data: *mut c_void,
    userdata: *mut c_void,
) -> c_int {
    // SAFETY: the broker calls with the registered instance and a CONTROL event.
    unsafe {
        called(userdata, SUCCESS, |instance, host| {
            failpoint::reached("control");
            if let Some(command) = ControlMessage::read(data) {
                instance.plugin.control(&command.client, command.payload);
                host.into_iter().for_each(|host| instance.plugin.tick_if_overdue(host));
            }
            SUCCESS
        })
    }
}

unsafe extern "C" fn reload(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance.
    unsafe {
        // Even after a panic the code is the one that keeps the broker and its files alive; the
        // instance keeps what it knew.
        let reloaded = userdata.cast::<Instance>().as_ref().map_or(SUCCESS, |i| i.reloaded);
        called(userdata, reloaded, |instance, _| {
            instance.plugin.reload();
            instance.reloaded
        })
    }
}

unsafe extern "C" fn tick(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance, on its own thread.
    unsafe {
        called(userdata, SUCCESS, |instance, host| {
            if let Some(waker) = &instance.waker {
                waker.acknowledge();
            }
            failpoint::reached("tick");
            host.into_iter().for_each(|host| instance.plugin.tick(host));
            SUCCESS
        })
    }
}

/// A client is connected (2.1).
unsafe extern "C" fn connect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance and a CONNECT event.
    unsafe {
        called(userdata, SUCCESS, |instance, _| {
            failpoint::reached("connect");
            if let Some((client, username)) = client_and_username(data) {
                instance.plugin.connected(&client, username.as_deref());
            }
            SUCCESS
        })
    }
}

/// A client has left. On 2.0 that may mean that its session has gone offline.
unsafe extern "C" fn disconnect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    let departure = if host::is_2_1() { Departure::Ended } else { Departure::Unclear };
    // SAFETY: the broker calls with the registered instance and a DISCONNECT event.
    unsafe { left(data, userdata, departure) }
}

/// A client's session has gone offline, and is kept (2.1).
unsafe extern "C" fn offline(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance and a CLIENT_OFFLINE event.
    unsafe { left(data, userdata, Departure::Offline) }
}

/// # Safety
/// As [`called`], and `data` is one of the two events.
unsafe fn left(data: *mut c_void, userdata: *mut c_void, departure: Departure) -> c_int {
    // SAFETY: as the caller says.
    unsafe {
        called(userdata, SUCCESS, |instance, _| {
            failpoint::reached("disconnect");
            if let Some((handle, why)) = left_client(data) {
                instance.plugin.left(handle, departure, why);
            }
            SUCCESS
        })
    }
}
