//! A message's MQTT 5 properties, which only the broker can read and copy.

use std::ffi::{c_int, c_uint, c_void};

use once_cell::sync::Lazy;

use super::bindings::{mosquitto_evt_message, mosquitto_property};
use super::symbol::symbol;
use crate::question::Properties;

/// Functions that not every broker offers to plugins. One that lacks them tells of no properties.
struct Functions {
    copy_all: CopyAll,
    free_all: FreeAll,
    length_all: LengthAll,
    next: Next,
}

/// What a property takes beside its text, about, in bytes: it is up to three allocations.
const PROPERTY_BYTES: usize = 150;

type CopyAll =
    unsafe extern "C" fn(*mut *mut mosquitto_property, *const mosquitto_property) -> c_int;
type FreeAll = unsafe extern "C" fn(*mut *mut mosquitto_property);
type LengthAll = unsafe extern "C" fn(*const mosquitto_property) -> c_uint;
type Next = unsafe extern "C" fn(*const mosquitto_property) -> *const mosquitto_property;

static FUNCTIONS: Lazy<Option<Functions>> = Lazy::new(|| {
    let copy_all = symbol(c"mosquitto_property_copy_all")?;
    let free_all = symbol(c"mosquitto_property_free_all")?;
    let length_all = symbol(c"mosquitto_property_get_length_all")?;
    let next = symbol(c"mosquitto_property_next")?;
    // SAFETY: these are the functions' signatures in every broker that has them.
    unsafe {
        Some(Functions {
            copy_all: std::mem::transmute::<*mut c_void, CopyAll>(copy_all),
            free_all: std::mem::transmute::<*mut c_void, FreeAll>(free_all),
            length_all: std::mem::transmute::<*mut c_void, LengthAll>(length_all),
            next: std::mem::transmute::<*mut c_void, Next>(next),
        })
    }
});

/// A list of properties that belongs to nobody else.
pub(crate) struct PropertyList(*mut mosquitto_property);

// SAFETY: the list is memory of its own, to which nobody else has a pointer.
unsafe impl Send for PropertyList {}

impl PropertyList {
    /// A copy; none if there are no properties, or they cannot be copied.
    ///
    /// # Safety
    /// `list` is null or a list of the broker's, alive during the call.
    pub(crate) unsafe fn copy(list: *const mosquitto_property) -> Option<Properties> {
        let functions = FUNCTIONS.as_ref().filter(|_| !list.is_null())?;
        let mut copy = std::ptr::null_mut();
        // SAFETY: the list is alive, as the caller says, and there is a place for the copy.
        let code = unsafe { (functions.copy_all)(&raw mut copy, list) };
        (code == 0 && !copy.is_null()).then(|| {
            let copy = Self(copy);
            Properties { bytes: copy.bytes(functions), list: Box::new(copy) }
        })
    }

    /// About how much memory the list takes.
    fn bytes(&self, functions: &Functions) -> usize {
        // SAFETY: the list is this one's own.
        let length = unsafe { (functions.length_all)(self.0) };
        let (mut count, mut property) = (0, self.0.cast_const());
        while !property.is_null() {
            count += 1;
            // SAFETY: the property is one of this list's.
            property = unsafe { (functions.next)(property) };
        }
        count * PROPERTY_BYTES + usize::try_from(length).unwrap_or(usize::MAX / 2)
    }

    /// Lends the list to a call that takes it over if it returns true.
    pub(crate) fn hand_over(mut self, call: impl FnOnce(*mut mosquitto_property) -> bool) {
        if call(self.0) {
            self.0 = std::ptr::null_mut();
        }
    }
}

impl Drop for PropertyList {
    fn drop(&mut self) {
        if let Some(functions) = FUNCTIONS.as_ref().filter(|_| !self.0.is_null()) {
            // SAFETY: the list is this one's own, and is not used again.
            unsafe { (functions.free_all)(&raw mut self.0) };
        }
    }
}

/// Whether the message of a MESSAGE event has no properties of MQTT 5.
///
/// # Safety
/// `data` is what the broker handed to a callback of that event that has not returned yet.
pub(crate) unsafe fn has_no_properties(data: *mut c_void) -> bool {
    // SAFETY: as the caller says; the layout is the same on 2.0.11 and 2.0.21 (shim.c).
    let event = unsafe { data.cast::<mosquitto_evt_message>().as_ref() };
    event.is_some_and(|event| event.properties.is_null())
}
