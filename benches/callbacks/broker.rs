//! A stand-in for the broker: the functions that the plugin calls, and events laid out as
//! Mosquitto lays them out, so that the plugin's own callbacks can be called as Mosquitto calls
//! them.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;

/// A client as this broker holds it. Names lie in memory of their own, as Mosquitto's do.
pub(crate) struct Client {
    id: CString,
    username: CString,
}

/// `struct mosquitto_evt_acl_check`.
#[repr(C)]
struct AclCheck {
    future: *mut c_void,
    client: *const Client,
    topic: *const c_char,
    payload: *const c_void,
    properties: *mut c_void,
    access: c_int,
    payload_length: u32,
    qos: u8,
    retain: bool,
    future2: [*mut c_void; 4],
}

/// `struct mosquitto_evt_basic_auth`.
#[repr(C)]
struct BasicAuth {
    future: *mut c_void,
    client: *const Client,
    username: *const c_char,
    password: *const c_char,
    future2: [*mut c_void; 4],
}

#[repr(C)]
struct Opt {
    key: *const c_char,
    value: *const c_char,
}

type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

unsafe extern "C" {
    fn mosquitto_plugin_init(
        identifier: *mut c_void,
        userdata: *mut *mut c_void,
        options: *mut Opt,
        count: c_int,
    ) -> c_int;
}

const BASIC_AUTH: c_int = 3;
const ACL_CHECK: c_int = 2;
const READ: c_int = 1;
const WRITE: c_int = 2;
const SUCCESS: c_int = 0;

struct Registered {
    event: c_int,
    callback: Callback,
    userdata: usize,
}

static REGISTERED: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

/// The plugin, loaded and with its callbacks registered. It is never unloaded.
pub(crate) struct Plugin {
    basic_auth: Callback,
    acl_check: Callback,
    userdata: *mut c_void,
}

impl Plugin {
    /// Loads it with these options.
    pub(crate) fn load(options: &[(&str, &str)]) -> Self {
        let text = |text: &str| CString::new(text).unwrap().into_raw().cast_const();
        let mut options: Vec<_> =
            options.iter().map(|(key, value)| Opt { key: text(key), value: text(value) }).collect();
        let mut userdata = ptr::null_mut();
        REGISTERED.lock().unwrap().clear();
        let count = c_int::try_from(options.len()).unwrap();
        // SAFETY: the options are alive, and there is a place for the instance.
        let code = unsafe {
            mosquitto_plugin_init(ptr::null_mut(), &mut userdata, options.as_mut_ptr(), count)
        };
        assert_eq!(code, SUCCESS, "the plugin refuses its options");
        let registered = REGISTERED.lock().unwrap();
        let of = |event| registered.iter().find(|one| one.event == event).unwrap();
        Self {
            basic_auth: of(BASIC_AUTH).callback,
            acl_check: of(ACL_CHECK).callback,
            userdata: of(ACL_CHECK).userdata as *mut c_void,
        }
    }

    /// Whether the client may log in with this password.
    pub(crate) fn login(&self, client: &Client, password: &CStr) -> bool {
        let mut event = BasicAuth {
            future: ptr::null_mut(),
            client,
            username: client.username.as_ptr(),
            password: password.as_ptr(),
            future2: [ptr::null_mut(); 4],
        };
        let event = ptr::from_mut(&mut event).cast();
        // SAFETY: the event and what it points to are alive, and the instance is.
        unsafe { (self.basic_auth)(BASIC_AUTH, event, self.userdata) == SUCCESS }
    }

    /// Whether a message on this topic may be delivered to the client.
    pub(crate) fn may_read(&self, client: &Client, topic: &CStr) -> bool {
        self.check(client, topic, READ)
    }

    /// Whether the client may publish a message on this topic.
    pub(crate) fn may_publish(&self, client: &Client, topic: &CStr) -> bool {
        self.check(client, topic, WRITE)
    }

    fn check(&self, client: &Client, topic: &CStr, access: c_int) -> bool {
        let mut event = AclCheck {
            future: ptr::null_mut(),
            client,
            topic: topic.as_ptr(),
            payload: ptr::null(),
            properties: ptr::null_mut(),
            access,
            payload_length: 0,
            qos: 0,
            retain: false,
            future2: [ptr::null_mut(); 4],
        };
        let event = ptr::from_mut(&mut event).cast();
        // SAFETY: as above.
        unsafe { (self.acl_check)(ACL_CHECK, event, self.userdata) == SUCCESS }
    }
}

impl Client {
    pub(crate) fn new(id: &str, username: &str) -> Self {
        let text = |text| CString::new(text).unwrap();
        Self { id: text(id), username: text(username) }
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_callback_register(
    _: *mut c_void,
    event: c_int,
    callback: Callback,
    _: *const c_void,
    userdata: *mut c_void,
) -> c_int {
    let userdata = userdata as usize;
    REGISTERED.lock().unwrap().push(Registered { event, callback, userdata });
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_callback_unregister(
    _: *mut c_void,
    _: c_int,
    _: Callback,
    _: *const c_void,
) -> c_int {
    SUCCESS
}

/// Variadic in C; a function that takes as many arguments as the plugin passes will do.
#[unsafe(no_mangle)]
extern "C" fn mosquitto_log_printf(_: c_int, _: *const c_char, line: *const c_char) {
    // SAFETY: the plugin passes one C string.
    eprintln!("{}", unsafe { CStr::from_ptr(line) }.to_string_lossy());
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_id(client: *const Client) -> *const c_char {
    // SAFETY: the plugin passes on the client of an event.
    unsafe { (*client).id.as_ptr() }
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_username(client: *const Client) -> *const c_char {
    // SAFETY: as above.
    unsafe { (*client).username.as_ptr() }
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_address(_: *const Client) -> *const c_char {
    c"127.0.0.1".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_protocol(_: *const Client) -> c_int {
    1
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_protocol_version(_: *const Client) -> c_int {
    4
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_keepalive(_: *const Client) -> c_int {
    60
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_clean_session(_: *const Client) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_client_certificate(_: *const Client) -> *mut c_void {
    ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_set_username(_: *mut Client, _: *const c_char) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_kick_client_by_clientid(_: *const c_char, _: bool) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_kick_client_by_username(_: *const c_char, _: bool) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn mosquitto_broker_publish_copy(
    _: *const c_char,
    _: *const c_char,
    _: c_int,
    _: *const c_void,
    _: c_int,
    _: bool,
    _: *mut c_void,
) -> c_int {
    SUCCESS
}
