//! Failpoints: places at which a test can have this library panic, to see what follows from a defect.
//!
//! Built without the feature `inject-panics`, as the library always is but for those tests, this
//! compiles to nothing. With it, a place panics for as long as its name is what the file holds that
//! [`SWITCH`] names; so a test can switch a defect on and off in a broker that runs.

#![forbid(unsafe_code)]

/// The environment variable with the path of the file that names the place.
#[cfg(feature = "inject-panics")]
pub(crate) const SWITCH: &str = "MOSQUITTO_HTTP_AUTH_PANIC_FILE";

/// A place by this name.
#[cfg(feature = "inject-panics")]
#[allow(clippy::panic, reason = "that is what this is for")]
pub(crate) fn reached(name: &str) {
    let Some(file) = std::env::var_os(SWITCH) else { return };
    let chosen = std::fs::read_to_string(file).unwrap_or_default();
    assert!(chosen.trim() != name, "a defect, on purpose, in {name}");
}

/// A place by this name.
#[cfg(not(feature = "inject-panics"))]
#[inline(always)]
pub(crate) const fn reached(_name: &str) {}
