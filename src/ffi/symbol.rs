//! Functions of the broker's that not every version has.

use std::ffi::CStr;
use std::os::raw::c_void;

/// A function that this process may or may not have. A plain reference would keep older brokers
/// from loading the library at all.
pub(crate) fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends in NUL, and `RTLD_DEFAULT` looks only at what is loaded already.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
