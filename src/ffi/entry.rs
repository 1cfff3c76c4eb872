//! The three functions that the broker looks up. The second of them registers the callbacks.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;

use log::Level;

use super::bindings as mosquitto;
use super::broker_waker::BrokerWaker;
use super::callback::{Callback, Instance, callbacks, control, this_thread};
use super::descriptors;
use super::fetch::fetch;
use super::guard::{catch_panic, hide_panic_messages, panicked_at};
use super::host::{self, Host};
use super::sighup::SIGHUP;
use super::thread::spawn;
use crate::broker::Broker as _;
use crate::clock::SystemClock;
use crate::config::{self, ConfigError};
use crate::failpoint;
use crate::plugin::{CONTROL_TOPIC, HostCapabilities, Plugin};

/// The version of the plugin interface that this library speaks; all supported brokers offer it.
const INTERFACE: c_int = 5;

const SUCCESS: c_int = mosquitto::MOSQ_ERR_SUCCESS as c_int;
const INVALID: c_int = mosquitto::MOSQ_ERR_INVAL as c_int;

/// Answers which interface version the plugin speaks, out of those that the broker offers.
///
/// # Safety
/// Called by the broker with an array of `count` versions.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mosquitto_plugin_version(
    count: c_int,
    offered: *const c_int,
) -> c_int {
    let refusal = -1;
    catch_panic(
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
pub(crate) unsafe extern "C" fn mosquitto_plugin_init(
    identifier: *mut mosquitto::mosquitto_plugin_id_t,
    userdata: *mut *mut c_void,
    options: *mut mosquitto::mosquitto_opt,
    count: c_int,
) -> c_int {
    // SAFETY: the broker starts its plugins on its main thread.
    let host = unsafe { Host::on_its_own_thread() };
    let report = |place: &str| host.log(Level::Error, &format!("internal error at {place}"));
    catch_panic(INVALID, report, || {
        hide_panic_messages();
        failpoint::reached("plugin_init");
        descriptors::make_room();
        // SAFETY: the broker hands over its options.
        let options = unsafe { read_options(options, count) };
        let waker = BrokerWaker::for_this_thread().map(Arc::new);
        let path = library_path();
        let started = config::read_for(&options, path.as_deref())
            .and_then(|config| Plugin::start(config, Arc::new(SystemClock), capabilities(&waker)?));
        let plugin = match started {
            Ok(plugin) => plugin,
            Err(errors) => {
                errors.iter().for_each(|error| host.log(Level::Error, &error.to_string()));
                return INVALID;
            }
        };
        plugin.write_log(&host);
        let reloaded =
            if host::is_2_1() { SUCCESS } else { mosquitto::MOSQ_ERR_PLUGIN_DEFER as c_int };
        host::introduce(identifier);
        let main = this_thread();
        let instance =
            Box::into_raw(Box::new(Instance { plugin, identifier, main, reloaded, waker }));
        // SAFETY: the instance is alive, and lives until the broker calls the cleanup.
        let code = unsafe { register(identifier, instance, &host) };
        if code == SUCCESS {
            // SAFETY: as above; and the broker gives a place for one pointer.
            unsafe {
                register_control(identifier, instance, &host);
                *userdata = instance.cast();
            }
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
pub(crate) unsafe extern "C" fn mosquitto_plugin_cleanup(
    userdata: *mut c_void,
    _options: *mut mosquitto::mosquitto_opt,
    _count: c_int,
) -> c_int {
    // SAFETY: the broker ends its plugins on its main thread.
    let host = unsafe { Host::on_its_own_thread() };
    let report = |place: &str| host.log(Level::Error, &format!("internal error at {place}"));
    catch_panic(SUCCESS, report, || {
        if userdata.is_null() {
            return SUCCESS;
        }
        // SAFETY: this is the pointer that init made, handed back for the last time.
        let instance = unsafe { Box::from_raw(userdata.cast::<Instance>()) };
        // SAFETY: the identifier is the one that these were registered with.
        unsafe { unregister_all(instance.identifier) };
        failpoint::reached("plugin_cleanup");
        instance.end();
        panicked_at().iter().for_each(|place| instance.plugin.note_panic(place));
        instance.plugin.write_log(&host);
        SUCCESS
    })
}

/// The path of this library, as the broker's `plugin` line names it.
fn library_path() -> Option<String> {
    let own: unsafe extern "C" fn(c_int, *const c_int) -> c_int = mosquitto_plugin_version;
    // SAFETY: a structure of pointers, for which null is a value.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is one of this library's, and the structure is to be written.
    let code = unsafe { libc::dladdr(own as *const c_void, &raw mut found) };
    if code == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own text, which lives as long as the library is loaded.
    let path = unsafe { CStr::from_ptr(found.dli_fname) };
    Some(path.to_string_lossy().into_owned())
}

/// What the plugin can count on.
///
/// # Errors
/// What of it cannot be had.
fn capabilities(waker: &Option<Arc<BrokerWaker>>) -> Result<HostCapabilities, Vec<ConfigError>> {
    let waker = waker.clone();
    let login_attempts =
        host::login_attempts().map_err(|error| vec![ConfigError::overall(error.to_string())])?;
    Ok(HostCapabilities {
        delays_logins: host::is_2_1(),
        tells_who_connects: host::is_2_1(),
        tells_reasons: host::is_2_1(),
        lets_websockets_choose: !host::is_2_1(),
        spawn,
        wake_broker: Arc::new(move || waker.iter().for_each(|waker| waker.wake())),
        sighup: host::is_2_1().then_some(SIGHUP),
        login_attempts,
        claim_topics: host::claim_topics,
        instances: host::instances(),
        fetch,
        observer: None,
    })
}

/// Listens for commands. One instance per listener, or per broker, can: a broker knows one callback
/// for each control topic. Those of the others come through that one.
///
/// # Safety
/// As [`register`].
unsafe fn register_control(
    identifier: *mut mosquitto::mosquitto_plugin_id_t,
    instance: *mut Instance,
    host: &Host,
) {
    let Ok(topic) = CString::new(CONTROL_TOPIC) else { return };
    // SAFETY: as the caller says; the broker copies the topic.
    let code = unsafe {
        mosquitto::mosquitto_callback_register(
            identifier,
            mosquitto::MOSQ_EVT_CONTROL as c_int,
            Some(control),
            topic.as_ptr().cast(),
            instance.cast(),
        )
    } as c_int;
    if code != SUCCESS {
        host.log(
            Level::Warn,
            &format!(
                "no commands are taken on {CONTROL_TOPIC}: the broker refuses (code {code}), as it \
                 does when another instance of the plugin takes them"
            ),
        );
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
            unsafe { unregister(identifier, *event, *callback, std::ptr::null()) };
        }
        return code;
    }
    SUCCESS
}

/// Takes a callback back. A broker that has none like it says so, which nobody needs to hear.
///
/// # Safety
/// The identifier is the broker's own.
unsafe fn unregister(
    identifier: *mut mosquitto::mosquitto_plugin_id_t,
    event: c_int,
    callback: Callback,
    about: *const c_char,
) {
    // SAFETY: as the caller says; the broker only compares what it gets.
    unsafe {
        mosquitto::mosquitto_callback_unregister(identifier, event, Some(callback), about.cast());
    }
}

/// Takes all callbacks back, as Mosquitto 2.0 frees none that is left.
///
/// # Safety
/// As [`unregister`].
unsafe fn unregister_all(identifier: *mut mosquitto::mosquitto_plugin_id_t) {
    for (event, callback) in callbacks() {
        // SAFETY: as the caller says.
        unsafe { unregister(identifier, *event, *callback, std::ptr::null()) };
    }
    if let Ok(topic) = CString::new(CONTROL_TOPIC) {
        let event = mosquitto::MOSQ_EVT_CONTROL as c_int;
        // SAFETY: as the caller says; the topic is alive.
        unsafe { unregister(identifier, event, control, topic.as_ptr()) };
    }
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
