//! The broker's side of what the plugin calls: its log, and what only newer brokers have.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::Level;
use once_cell::sync::{Lazy, OnceCell};

use super::bindings as mosquitto;
use super::properties::PropertyList;
use super::symbol::symbol;
use crate::broker::{Broker, Delivery};
use crate::login::LoginAttempts;
use crate::plugin::Instances;
use crate::question::Properties;
use crate::random::NoRandomBytes;

unsafe extern "C" {
    /// Defined in `shim.c`.
    fn mosquitto_http_auth_log(level: c_int, text: *const c_char);
}

/// The broker, on the thread that it calls the plugin on. It cannot leave that thread.
pub(crate) struct Host(PhantomData<*const ()>);

impl Host {
    /// # Safety
    /// To be called on the broker's main thread, while the broker runs the plugin.
    pub(crate) unsafe fn on_its_own_thread() -> Self {
        Self(PhantomData)
    }

    /// Has the broker publish a message with QoS 0, on the next pass of its loop: to this client alone, or
    /// retained and to whoever has subscribed.
    fn publish(&self, client_id: Option<&CStr>, topic: &str, payload: &str) {
        let (Ok(topic), Ok(length)) = (CString::new(topic), c_int::try_from(payload.len())) else {
            return;
        };
        // SAFETY: `Host` exists only on the broker's thread; both texts end in NUL and outlive the call, or the identifier is null, which means
        // everybody; the broker copies the payload, of which it gets the length.
        unsafe {
            mosquitto::mosquitto_broker_publish_copy(
                client_id.map_or(std::ptr::null(), CStr::as_ptr),
                topic.as_ptr(),
                length,
                payload.as_ptr().cast(),
                0,
                client_id.is_none(),
                std::ptr::null_mut(),
            );
        }
    }
}

impl Broker for Host {
    fn log(&self, level: Level, line: &str) {
        let level = match level {
            Level::Error => mosquitto::MOSQ_LOG_ERR,
            Level::Warn => mosquitto::MOSQ_LOG_WARNING,
            Level::Info => mosquitto::MOSQ_LOG_INFO,
            Level::Debug | Level::Trace => mosquitto::MOSQ_LOG_DEBUG,
        };
        // Control characters were escaped on the way here, so there is no NUL to stop at.
        let Ok(text) = CString::new(format!("mosquitto-http-auth: {line}")) else { return };
        // SAFETY: the text ends in NUL and outlives the call; `Host` exists only on the broker's
        // thread, the only one that may log.
        unsafe { mosquitto_http_auth_log(level as c_int, text.as_ptr()) };
    }

    fn finish_login(&self, client_id: &str, let_in: bool) {
        let verdict = if let_in { mosquitto::MOSQ_ERR_SUCCESS } else { mosquitto::MOSQ_ERR_AUTH };
        let (Some(complete), Ok(id)) = (*COMPLETE, CString::new(client_id)) else { return };
        // SAFETY: the identifier ends in NUL and outlives the call; `Host` exists only on the
        // broker's thread, as the function demands.
        unsafe { complete(id.as_ptr(), verdict as c_int) };
    }

    fn close_by_username(&self, username: &str) {
        let Ok(name) = CString::new(username) else { return };
        // SAFETY: as above. A null name would mean every client without one; this one is not null.
        unsafe { mosquitto::mosquitto_kick_client_by_username(name.as_ptr(), false) };
    }

    fn publish_to(&self, client_id: &str, topic: &str, payload: &str) {
        let Ok(id) = CString::new(client_id) else { return };
        self.publish(Some(&id), topic, payload);
    }

    fn deliver(&self, client_id: &str, message: &Delivery<'_>, properties: Option<Properties>) {
        let (Ok(id), Ok(topic), Ok(length)) = (
            CString::new(client_id),
            CString::new(message.topic),
            c_int::try_from(message.payload.len()),
        ) else {
            return;
        };
        let publish = |properties| {
            // SAFETY: as in `publish`; the properties are null, or a list that the broker takes over if
            // the call succeeds.
            let code = unsafe {
                mosquitto::mosquitto_broker_publish_copy(
                    id.as_ptr(),
                    topic.as_ptr(),
                    length,
                    message.payload.as_ptr().cast(),
                    c_int::from(message.qos),
                    false,
                    properties,
                )
            };
            code as c_int == mosquitto::MOSQ_ERR_SUCCESS as c_int
        };
        match properties.and_then(|properties| properties.list.downcast::<PropertyList>().ok()) {
            Some(list) => list.hand_over(publish),
            None => _ = publish(std::ptr::null_mut()),
        }
    }

    fn publish_retained(&self, topic: &str, payload: &str) {
        self.publish(None, topic, payload);
    }

    fn disconnect(&self, client_id: &str) {
        let Ok(id) = CString::new(client_id) else { return };
        // SAFETY: as above. A null identifier would mean every client; this one is not null.
        unsafe { mosquitto::mosquitto_kick_client_by_clientid(id.as_ptr(), false) };
    }
}

/// `mosquitto_complete_basic_auth`, where the broker has it.
type Complete = unsafe extern "C" fn(*const c_char, c_int);
static COMPLETE: Lazy<Option<Complete>> = Lazy::new(|| {
    let address = symbol(c"mosquitto_complete_basic_auth")?;
    // SAFETY: this is the function's signature in every broker that has it.
    Some(unsafe { std::mem::transmute::<*mut c_void, Complete>(address) })
});

/// Whether the broker is 2.1 or later, told by a function that came with it.
pub(crate) fn is_2_1() -> bool {
    COMPLETE.is_some()
}

/// Whether nobody in this process has claimed the topics below `$SYS` yet.
pub(crate) fn claim_topics() -> bool {
    static CLAIMED: AtomicBool = AtomicBool::new(false);
    !CLAIMED.swap(true, Ordering::Relaxed)
}

/// All instances in this process.
pub(crate) fn instances() -> Arc<Instances> {
    static INSTANCES: Lazy<Arc<Instances>> = Lazy::new(Arc::default);
    Arc::clone(&INSTANCES)
}

/// This process's attempts to log in, which all instances share, as the broker has one table of them.
///
/// # Errors
/// The operating system gives no random bytes.
pub(crate) fn login_attempts() -> Result<Arc<LoginAttempts>, NoRandomBytes> {
    static ATTEMPTS: OnceCell<Arc<LoginAttempts>> = OnceCell::new();
    ATTEMPTS.get_or_try_init(|| LoginAttempts::new().map(Arc::new)).cloned()
}

/// Tells a broker of 2.1 or later what the plugin is called, for its own log lines.
pub(crate) fn introduce(identifier: *mut mosquitto::mosquitto_plugin_id_t) {
    type SetInfo = unsafe extern "C" fn(
        *mut mosquitto::mosquitto_plugin_id_t,
        *const c_char,
        *const c_char,
    ) -> c_int;

    let Some(address) = symbol(c"mosquitto_plugin_set_info") else { return };
    let version = concat!(env!("CARGO_PKG_VERSION"), "\0");
    // SAFETY: this is the function's signature in every broker that has it; the identifier is the
    // one that the broker handed over, and both texts are static and end in NUL.
    unsafe {
        let set_info: SetInfo = std::mem::transmute(address);
        set_info(identifier, c"mosquitto-http-auth".as_ptr(), version.as_ptr().cast());
    }
}
