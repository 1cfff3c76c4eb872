//! Reads the broker's headers (bindgen) and compiles the C shim (cc).
//!
//! `MOSQUITTO_INCLUDE` names a folder with the headers of any supported broker; without it the
//! compiler's own search path is used, where `mosquitto-dev` puts them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    for file in ["wrapper.h", "src/ffi/shim.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed=MOSQUITTO_INCLUDE");
    // The plugin's handler of SIGHUP may be called until the process ends (`src/ffi/sighup.rs`), so the broker's dlclose
    // leaves the library where it is.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    let include = env::var_os("MOSQUITTO_INCLUDE").map(PathBuf::from);
    check_headers(include.as_deref());
    compile_shim(include.as_deref());
    generate_bindings(include.as_deref());
}

/// Says in one line what to install, before the tools say it in fifty.
fn check_headers(include: Option<&Path>) {
    let mut compiler = cc::Build::new();
    compiler.file("wrapper.h").includes(include).warnings(false).cargo_metadata(false);
    if compiler.try_expand().is_err() {
        fail(
            "Mosquitto's plugin headers, or headers that they include, are missing: install \
             mosquitto-dev and libmosquitto-dev (Debian), or point MOSQUITTO_INCLUDE at a folder \
             that holds them (with cJSON's for Mosquitto 2.1)",
        );
    }
}

fn compile_shim(include: Option<&Path>) {
    cc::Build::new()
        .file("src/ffi/shim.c")
        .include(".")
        .includes(include)
        .compile("mosquitto_shim");
}

fn generate_bindings(include: Option<&Path>) {
    let builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(include.map(|folder| format!("-I{}", folder.display())))
        .allowlist_function("mosquitto_callback_(un)?register")
        .allowlist_function("mosquitto_client_.*")
        .allowlist_function("mosquitto_kick_client_by_(clientid|username)")
        .allowlist_function("mosquitto_set_username")
        .allowlist_function("mosquitto_broker_publish_copy")
        .allowlist_type("mosquitto_evt_(basic_auth|acl_check|message|control|disconnect)")
        .allowlist_type("mosquitto_(opt|plugin_id_t|plugin_event|protocol)")
        .allowlist_type("mosq_err_t")
        .allowlist_var("MOSQ_(ERR|EVT|LOG|ACL)_.*")
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_comments(false);
    let Ok(bindings) = builder.generate() else {
        fail("bindgen could not read Mosquitto's headers: is libclang-dev installed?");
    };
    let Some(out) = env::var_os("OUT_DIR") else { fail("OUT_DIR is not set: run this by cargo") };
    if let Err(error) = bindings.write_to_file(Path::new(&out).join("mosquitto.rs")) {
        fail(&format!("cannot write the bindings: {error}"));
    }
}

fn fail(message: &str) -> ! {
    println!("cargo:warning={message}");
    exit(1)
}
