//! What the broker calls: the three functions that it looks up, and the callbacks that the second
//! of them registers.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use log::Level;

use super::bell::Bell;
use super::bindings as mosquitto;
use super::descriptors;
use super::event::{AccessCheck, Login, access_code, client_and_username, handle, login_code};
use super::guard::{contain, hide_panic_messages};
use super::host::{self, Host};
use super::thread::spawn;
use crate::answer::Decision;
use crate::broker::Broker as _;
use crate::clock::SystemClock;
use crate::config;
use crate::plugin::{Abilities, Attempt, Plugin, Reply};

/// The version of the plugin interface that this library speaks; all supported brokers offer it.
const INTERFACE: c_int = 5;

/// What the broker carries for one instance, and hands back with every event.
struct Instance {
    plugin: Plugin,
    /// The broker's own thread. (2.1 asks about its HTTP API from another one.)
    main: ThreadId,
    /// What a RELOAD callback has to return: 2.1 ends the broker on anything but success, and 2.0
    /// asks no further plugin after anything but a deferral.
    reloaded: c_int,
    /// Wakes the broker; none where it can do nothing that would be worth waking it for.
    bell: Option<Arc<Bell>>,
}

impl Instance {
    fn is_on_broker_thread(&self) -> bool {
        thread::current().id() == self.main
    }
}

type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

/// Events of 2.1, which the headers of 2.0 lack.
const CONNECT: c_int = 11;
const CLIENT_OFFLINE: c_int = 28;

static CALLBACKS: [(c_int, Callback); 7] = [
    (mosquitto::MOSQ_EVT_BASIC_AUTH as c_int, basic_auth),
    (mosquitto::MOSQ_EVT_ACL_CHECK as c_int, acl_check),
    (mosquitto::MOSQ_EVT_RELOAD as c_int, reload),
    (mosquitto::MOSQ_EVT_TICK as c_int, tick),
    (mosquitto::MOSQ_EVT_DISCONNECT as c_int, disconnect),
    (CONNECT, connect),
    (CLIENT_OFFLINE, disconnect),
];

/// Those of the callbacks that the broker knows.
fn callbacks() -> &'static [(c_int, Callback)] {
    if host::is_2_1() { &CALLBACKS } else { &CALLBACKS[..5] }
}

const SUCCESS: c_int = mosquitto::MOSQ_ERR_SUCCESS as c_int;
const INVALID: c_int = mosquitto::MOSQ_ERR_INVAL as c_int;

/// Answers which interface version the plugin speaks, out of those that the broker offers.
///
/// # Safety
/// Called by the broker with an array of `count` versions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_version(count: c_int, offered: *const c_int) -> c_int {
    let refusal = -1;
    contain(
        refusal,
        |_| {},
        || {
            if offered.is_null() {
                return refusal;
            }
            let count = usize::try_from(count).unwrap_or(0);
            // SAFETY: the broker offers an array of this many versions.
            let offered = unsafe { std::slice::from_raw_parts(offered, count) };
            if offered.contains(&INTERFACE) { INTERFACE } else { refusal }
        },
    )
}

/// Starts an instance with the options of one `plugin` line.
///
/// # Safety
/// Called by the broker on its main thread, with an array of `count` options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_init(
    identifier: *mut mosquitto::mosquitto_plugin_id_t,
    userdata: *mut *mut c_void,
    options: *mut mosquitto::mosquitto_opt,
    count: c_int,
) -> c_int {
    // SAFETY: the broker starts its plugins on its main thread.
    let host = unsafe { Host::on_its_own_thread() };
    let report = |place: &str| host.log(Level::Error, &format!("internal error at {place}"));
    contain(INVALID, report, || {
        hide_panic_messages();
        descriptors::make_room();
        // SAFETY: the broker hands over its options.
        let options = unsafe { read_options(options, count) };
        let bell = host::is_2_1().then(Bell::for_this_thread).flatten().map(Arc::new);
        let started = config::read(&options)
            .and_then(|config| Plugin::start(config, Arc::new(SystemClock), abilities(&bell)));
        let plugin = match started {
            Ok(plugin) => plugin,
            Err(mistakes) => {
                mistakes.iter().for_each(|mistake| host.log(Level::Error, &mistake.to_string()));
                return INVALID;
            }
        };
        plugin.write_log(&host);
        let reloaded =
            if host::is_2_1() { SUCCESS } else { mosquitto::MOSQ_ERR_PLUGIN_DEFER as c_int };
        host::introduce(identifier);
        let main = thread::current().id();
        let instance = Box::into_raw(Box::new(Instance { plugin, main, reloaded, bell }));
        // SAFETY: the instance is alive, and lives until the broker calls the cleanup.
        let code = unsafe { register(identifier, instance, &host) };
        if code == SUCCESS {
            // SAFETY: the broker gives a place for one pointer.
            unsafe { *userdata = instance.cast() };
        } else {
            // SAFETY: no callback refers to the instance any more, and the broker never saw it.
            drop(unsafe { Box::from_raw(instance) });
        }
        code
    })
}

/// Ends an instance: joins its threads and frees it. The broker may unload the library next.
///
/// # Safety
/// Called by the broker on its main thread, once for what [`mosquitto_plugin_init`] returned; with
/// null if that failed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_cleanup(
    userdata: *mut c_void,
    _options: *mut mosquitto::mosquitto_opt,
    _count: c_int,
) -> c_int {
    // SAFETY: the broker ends its plugins on its main thread.
    let host = unsafe { Host::on_its_own_thread() };
    let report = |place: &str| host.log(Level::Error, &format!("internal error at {place}"));
    contain(SUCCESS, report, || {
        if userdata.is_null() {
            return SUCCESS;
        }
        // SAFETY: this is the pointer that init made, handed back for the last time.
        let instance = unsafe { Box::from_raw(userdata.cast::<Instance>()) };
        instance.plugin.shut_down();
        // Last: what the workers leave behind still rings.
        if let Some(bell) = &instance.bell {
            bell.close();
        }
        instance.plugin.write_log(&host);
        SUCCESS
    })
}

/// What the plugin can count on.
fn abilities(bell: &Option<Arc<Bell>>) -> Abilities {
    let bell = bell.clone();
    Abilities {
        delays_logins: host::is_2_1(),
        tells_reasons: host::is_2_1(),
        spawn,
        ring: Arc::new(move || bell.iter().for_each(|bell| bell.ring())),
    }
}

/// Registers all callbacks, or none.
///
/// # Safety
/// The instance outlives the registration.
unsafe fn register(
    identifier: *mut mosquitto::mosquitto_plugin_id_t,
    instance: *mut Instance,
    host: &Host,
) -> c_int {
    for (position, (event, callback)) in callbacks().iter().enumerate() {
        // SAFETY: the identifier is the broker's own, and the instance outlives the registration.
        let code = unsafe {
            mosquitto::mosquitto_callback_register(
                identifier,
                *event,
                Some(*callback),
                std::ptr::null(),
                instance.cast(),
            )
        } as c_int;
        if code == SUCCESS {
            continue;
        }
        host.log(
            Level::Error,
            &format!(
                "the broker refuses the plugin's callbacks (code {code}); before Mosquitto 2.1 a \
                 plugin can be loaded once per listener, and once in all without \
                 per_listener_settings"
            ),
        );
        for (event, callback) in &callbacks()[..position] {
            // SAFETY: this one was registered a moment ago.
            unsafe {
                mosquitto::mosquitto_callback_unregister(
                    identifier,
                    *event,
                    Some(*callback),
                    std::ptr::null(),
                )
            };
        }
        return code;
    }
    SUCCESS
}

/// Copies the options, which are the broker's. What is not UTF-8 in them becomes U+FFFD, which the
/// options' reader refuses.
///
/// # Safety
/// `options` is an array of `count` options, each with two C strings.
unsafe fn read_options(
    options: *const mosquitto::mosquitto_opt,
    count: c_int,
) -> Vec<(String, String)> {
    let count = usize::try_from(count).unwrap_or(0);
    if options.is_null() {
        return Vec::new();
    }
    let text = |start: *const c_char| {
        if start.is_null() {
            return String::new();
        }
        // SAFETY: the broker's options are C strings.
        unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
    };
    // SAFETY: as the caller says.
    let options = unsafe { std::slice::from_raw_parts(options, count) };
    options.iter().map(|option| (text(option.key), text(option.value))).collect()
}

/// What every callback has in common: the guard, and the log lines that wait.
///
/// # Safety
/// `userdata` is the instance that was registered with the callback.
unsafe fn called(
    userdata: *mut c_void,
    refusal: c_int,
    body: impl FnOnce(&Instance) -> c_int,
) -> c_int {
    // SAFETY: as the caller says; the instance is shared between callbacks, never changed.
    let Some(instance) = (unsafe { userdata.cast::<Instance>().as_ref() }) else { return refusal };
    let report = |place: &str| instance.plugin.note_defect(&format!("internal error at {place}"));
    let code = contain(refusal, report, || body(instance));
    contain(
        code,
        |_| {},
        || {
            if instance.is_on_broker_thread() {
                // SAFETY: this is the broker's main thread, inside a callback.
                instance.plugin.write_log(&unsafe { Host::on_its_own_thread() });
            }
            code
        },
    )
}

unsafe extern "C" fn basic_auth(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    let refusal = login_code(Reply::Now(Decision::Deny));
    // SAFETY: the broker calls with the registered instance and a login event.
    unsafe {
        called(userdata, refusal, |instance| {
            let Some(login) = Login::read(data) else { return refusal };
            let on_broker_thread = instance.is_on_broker_thread();
            if on_broker_thread {
                instance.plugin.tick_if_overdue(&Host::on_its_own_thread());
            }
            login_code(instance.plugin.login(&Attempt {
                client: &login.client,
                username: login.username.as_deref(),
                password: login.password,
                on_broker_thread,
            }))
        })
    }
}

unsafe extern "C" fn acl_check(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    let refusal = access_code(Decision::Deny);
    // SAFETY: the broker calls with the registered instance and an ACL event.
    unsafe {
        called(userdata, refusal, |instance| {
            let Some(check) = AccessCheck::read(data) else { return refusal };
            access_code(instance.plugin.access(&check.client, check.username, check.action))
        })
    }
}

unsafe extern "C" fn reload(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance.
    unsafe {
        // Even after a panic the code is the one that keeps the broker and its files alive; the
        // instance keeps what it knew.
        let reloaded = userdata.cast::<Instance>().as_ref().map_or(SUCCESS, |i| i.reloaded);
        called(userdata, reloaded, |instance| {
            instance.plugin.reload();
            instance.reloaded
        })
    }
}

unsafe extern "C" fn tick(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance, on its own thread.
    unsafe {
        called(userdata, SUCCESS, |instance| {
            if let Some(bell) = &instance.bell {
                bell.answer();
            }
            instance.plugin.tick(&Host::on_its_own_thread());
            SUCCESS
        })
    }
}

/// A client is connected (2.1).
unsafe extern "C" fn connect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance and a CONNECT event.
    unsafe {
        called(userdata, SUCCESS, |instance| {
            if let Some((client, Some(username))) = client_and_username(data) {
                instance.plugin.connected(&client, &username);
            }
            SUCCESS
        })
    }
}

/// A client has left, or (2.1) its session has gone offline.
unsafe extern "C" fn disconnect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    // SAFETY: the broker calls with the registered instance and one of these two events.
    unsafe {
        called(userdata, SUCCESS, |instance| {
            if let Some(handle) = handle(data) {
                instance.plugin.left(handle);
            }
            SUCCESS
        })
    }
}
