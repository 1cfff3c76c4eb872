//! The certificate that a client presented, read by the TLS library that the broker has loaded.
//!
//! The library's functions are looked up at run time: a broker without TLS has none of them.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::ptr;

use once_cell::sync::Lazy;

use super::host::symbol;
use crate::question::CertificatePart;

/// `NID_commonName` (OpenSSL, `obj_mac.h`).
const COMMON_NAME: c_int = 13;
/// `XN_FLAG_RFC2253` (OpenSSL, `x509.h`), as Mosquitto itself prints subjects.
const RFC_2253: c_ulong = 0x0111_0317;
/// `BIO_CTRL_INFO`, by which a memory BIO tells where its bytes are (OpenSSL, `bio.h`).
const BIO_CTRL_INFO: c_int = 3;

/// The functions of OpenSSL that this takes. All its types are opaque pointers here.
struct OpenSsl {
    subject_name: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    index_by_nid: unsafe extern "C" fn(*const c_void, c_int, c_int) -> c_int,
    entry_at: unsafe extern "C" fn(*const c_void, c_int) -> *mut c_void,
    entry_data: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    to_utf8: unsafe extern "C" fn(*mut *mut u8, *const c_void) -> c_int,
    print_name: unsafe extern "C" fn(*mut c_void, *const c_void, c_int, c_ulong) -> c_int,
    memory: unsafe extern "C" fn() -> *const c_void,
    bio_new: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    bio_ctrl: unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long,
    bio_free: unsafe extern "C" fn(*mut c_void) -> c_int,
    free: unsafe extern "C" fn(*mut c_void, *const c_char, c_int),
    x509_free: unsafe extern "C" fn(*mut c_void),
}

/// Looked up at the first question that needs it.
static OPENSSL: Lazy<Option<OpenSsl>> = Lazy::new(OpenSsl::find);

/// A certificate of which this is one owner.
pub struct Certificate {
    x509: *mut c_void,
    openssl: &'static OpenSsl,
}

impl Certificate {
    /// # Safety
    /// `x509` is what `mosquitto_client_certificate` returned, and nobody else frees it.
    pub unsafe fn from_broker(x509: *mut c_void) -> Option<Self> {
        let openssl = OPENSSL.as_ref()?;
        (!x509.is_null()).then_some(Self { x509, openssl })
    }

    pub fn part(&self, part: CertificatePart) -> Option<String> {
        // SAFETY: the certificate is alive; its name belongs to it and is read at once.
        unsafe {
            let name = (self.openssl.subject_name)(self.x509);
            if name.is_null() {
                return None;
            }
            match part {
                CertificatePart::CommonName => self.openssl.common_name(name),
                CertificatePart::Subject => self.openssl.printed(name),
            }
        }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: this owns one reference, and gives it back once.
        unsafe { (self.openssl.x509_free)(self.x509) };
    }
}

impl OpenSsl {
    fn find() -> Option<Self> {
        /// # Safety
        /// `F` is the type of a pointer to the function of this name.
        unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
            let address = symbol(name)?;
            // SAFETY: a function pointer has the size of a data pointer on every platform that
            // has `dlsym`, and the caller vouches for the type.
            Some(unsafe { std::mem::transmute_copy(&address) })
        }
        // SAFETY: each signature is the one of OpenSSL 1.1 and 3, with opaque types as `void`.
        unsafe {
            Some(Self {
                subject_name: function(c"X509_get_subject_name")?,
                index_by_nid: function(c"X509_NAME_get_index_by_NID")?,
                entry_at: function(c"X509_NAME_get_entry")?,
                entry_data: function(c"X509_NAME_ENTRY_get_data")?,
                to_utf8: function(c"ASN1_STRING_to_UTF8")?,
                print_name: function(c"X509_NAME_print_ex")?,
                memory: function(c"BIO_s_mem")?,
                bio_new: function(c"BIO_new")?,
                bio_ctrl: function(c"BIO_ctrl")?,
                bio_free: function(c"BIO_free")?,
                free: function(c"CRYPTO_free")?,
                x509_free: function(c"X509_free")?,
            })
        }
    }

    /// # Safety
    /// `name` is an `X509_NAME` that is alive.
    unsafe fn common_name(&self, name: *const c_void) -> Option<String> {
        // SAFETY: as the caller says; what each call returns is checked before the next one.
        unsafe {
            let index = (self.index_by_nid)(name, COMMON_NAME, -1);
            if index < 0 {
                return None;
            }
            let data = (self.entry_data)((self.entry_at)(name, index));
            let mut text = ptr::null_mut();
            let length = usize::try_from((self.to_utf8)(&raw mut text, data)).ok()?;
            let copy = copied(text, length);
            (self.free)(text.cast(), ptr::null(), 0);
            copy
        }
    }

    /// # Safety
    /// `name` is an `X509_NAME` that is alive.
    unsafe fn printed(&self, name: *const c_void) -> Option<String> {
        // SAFETY: as the caller says; the BIO is freed on the only way out, after its bytes were
        // copied.
        unsafe {
            let bio = (self.bio_new)((self.memory)());
            if bio.is_null() {
                return None;
            }
            let mut start: *mut u8 = ptr::null_mut();
            let mut copy = None;
            if (self.print_name)(bio, name, 0, RFC_2253) >= 0 {
                let length = (self.bio_ctrl)(bio, BIO_CTRL_INFO, 0, (&raw mut start).cast());
                copy = usize::try_from(length).ok().and_then(|length| copied(start, length));
            }
            (self.bio_free)(bio);
            copy
        }
    }
}

/// # Safety
/// `start` is null or points at `length` bytes.
unsafe fn copied(start: *const u8, length: usize) -> Option<String> {
    if start.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    let bytes = unsafe { std::slice::from_raw_parts(start, length) };
    String::from_utf8(bytes.to_vec()).ok()
}
