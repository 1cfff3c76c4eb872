//! The certificate that a client presented, read by the TLS library that the broker has loaded.
//!
//! The library's functions are looked up at run time: a broker without TLS has none of them.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::ptr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use once_cell::sync::Lazy;
use ring::digest::{SHA256, digest};

use super::symbol::symbol;
use crate::question::CertificatePart;

/// `NID_commonName` (OpenSSL, `obj_mac.h`).
const COMMON_NAME: c_int = 13;
/// `XN_FLAG_RFC2253` (OpenSSL, `x509.h`), as Mosquitto itself prints subjects.
const RFC_2253: c_ulong = 0x0111_0317;
/// `BIO_CTRL_INFO`, by which a memory BIO tells where its bytes are (OpenSSL, `bio.h`).
const BIO_CTRL_INFO: c_int = 3;
/// `V_ASN1_NEG`, by which an integer's type tells that it is negative (OpenSSL, `asn1.h`).
const NEGATIVE: c_int = 0x100;
/// Characters in a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// The functions of OpenSSL that this takes. All its types are opaque pointers here.
struct OpenSsl {
    subject_name: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    issuer_name: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    serial: unsafe extern "C" fn(*const c_void) -> *const c_void,
    string_type: unsafe extern "C" fn(*const c_void) -> c_int,
    string_length: unsafe extern "C" fn(*const c_void) -> c_int,
    string_data: unsafe extern "C" fn(*const c_void) -> *const u8,
    to_der: unsafe extern "C" fn(*const c_void, *mut *mut u8) -> c_int,
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
pub(crate) struct Certificate {
    x509: *mut c_void,
    openssl: &'static OpenSsl,
}

impl Certificate {
    /// # Safety
    /// `x509` is what `mosquitto_client_certificate` returned, and nobody else frees it.
    pub(crate) unsafe fn from_broker(x509: *mut c_void) -> Option<Self> {
        let openssl = OPENSSL.as_ref()?;
        (!x509.is_null()).then_some(Self { x509, openssl })
    }

    pub(crate) fn part(&self, part: CertificatePart) -> Option<String> {
        let openssl = self.openssl;
        // SAFETY: the certificate is alive; its names and its number belong to it and are read at once.
        unsafe {
            let subject = || present((openssl.subject_name)(self.x509));
            match part {
                CertificatePart::CommonName => openssl.common_name(subject()?),
                CertificatePart::Subject => openssl.printed(subject()?),
                CertificatePart::Issuer => {
                    openssl.printed(present((openssl.issuer_name)(self.x509))?)
                }
                CertificatePart::Serial => openssl.number((openssl.serial)(self.x509)),
                CertificatePart::Fingerprint => {
                    Some(hex(digest(&SHA256, &openssl.der(self.x509)?).as_ref()))
                }
                CertificatePart::Pem => Some(pem(&openssl.der(self.x509)?)),
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
                issuer_name: function(c"X509_get_issuer_name")?,
                serial: function(c"X509_get0_serialNumber")?,
                string_type: function(c"ASN1_STRING_type")?,
                string_length: function(c"ASN1_STRING_length")?,
                string_data: function(c"ASN1_STRING_get0_data")?,
                to_der: function(c"i2d_X509")?,
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
            let copy = copied_text(text, length);
            (self.free)(text.cast(), ptr::null(), 0);
            copy
        }
    }

    /// # Safety
    /// `integer` is null or an `ASN1_INTEGER` that is alive.
    unsafe fn number(&self, integer: *const c_void) -> Option<String> {
        if integer.is_null() {
            return None;
        }
        // SAFETY: as the caller says; the bytes belong to the integer.
        let (bytes, is_negative) = unsafe {
            let length = usize::try_from((self.string_length)(integer)).ok()?;
            let bytes = copied((self.string_data)(integer), length)?;
            (bytes, (self.string_type)(integer) & NEGATIVE != 0)
        };
        Some(format!("{}{}", if is_negative { "-" } else { "" }, hex(&bytes)))
    }

    /// # Safety
    /// `x509` is a certificate that is alive.
    unsafe fn der(&self, x509: *const c_void) -> Option<Vec<u8>> {
        let mut start = ptr::null_mut();
        // SAFETY: as the caller says; OpenSSL allocates the bytes, which are freed once they are copied.
        unsafe {
            let length = usize::try_from((self.to_der)(x509, &raw mut start)).ok()?;
            let copy = copied(start, length);
            (self.free)(start.cast(), ptr::null(), 0);
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
                copy = usize::try_from(length).ok().and_then(|length| copied_text(start, length));
            }
            (self.bio_free)(bio);
            copy
        }
    }
}

fn present(name: *mut c_void) -> Option<*mut c_void> {
    (!name.is_null()).then_some(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As OpenSSL writes it: strictly as RFC 7468 says (section 3), with a line end at the end.
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / PEM_LINE + PEM_LINE);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, others) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = others;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// # Safety
/// `start` is null or points at `length` bytes.
unsafe fn copied(start: *const u8, length: usize) -> Option<Vec<u8>> {
    if start.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    Some(unsafe { std::slice::from_raw_parts(start, length) }.to_vec())
}

/// # Safety
/// As for [`copied`].
unsafe fn copied_text(start: *const u8, length: usize) -> Option<String> {
    // SAFETY: as the caller says.
    String::from_utf8(unsafe { copied(start, length) }?).ok()
}
