//! What `check` says that stops the broker does stop it, and nothing else does: every line here is given
//! to a broker of each version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mosquitto_test::prelude::*;
use rustix::fs::{XattrFlags, removexattr, setxattr};
use tempfile::TempDir;

use super::alone::Alone;
use super::check::{VALID, hints, load, mistakes, plugin};
use super::{Conf, is_root, users};

/// Which brokers do not start.
#[derive(Clone, Copy)]
enum Refused {
    Everywhere,
    By2_0,
    By2_1,
    ByAllBut2_0_11,
    Nowhere,
}
use Refused::{By2_0, By2_1, ByAllBut2_0_11, Everywhere, Nowhere};

impl Refused {
    fn by(self, version: Version) -> bool {
        match self {
            Everywhere => true,
            By2_0 => !version.is_2_1(),
            By2_1 => version.is_2_1(),
            ByAllBut2_0_11 => version != Version::V2_0_11,
            Nowhere => false,
        }
    }
}

/// Fails unless `check` says this, and the broker does as it says.
fn expect(version: Version, conf: &Conf, mistake: bool, expected: &str, refused: Refused) {
    let status = i32::from(mistake);
    let report = conf.json("check", &[], "", status);
    let said = if mistake { mistakes(&report) } else { hints(&report) };
    assert!(said.contains(expected), "{expected}: {said}");
    assert!(!report.to_string().contains("s3cret"));
    let started = Alone::start(version, &conf.path());
    let log = started.as_ref().err();
    assert_eq!(started.is_err(), refused.by(version), "{expected}: {log:?}");
}

/// The same for a broker that stays root and logs where the test looks.
fn expect_of(version: Version, text: &str, mistake: bool, expected: &str, refused: Refused) {
    let conf = Conf::new(&format!("user root\nlog_dest stderr\nlog_type all\n{text}"));
    // A library that is there, but not where libraries are looked for.
    fs::copy(plugin_path(), conf.dir.path().join("libmosquitto_http_auth.so")).unwrap();
    expect(version, &conf, mistake, expected, refused);
}

/// Files that every user of the machine may read, until a test says otherwise.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files { dir: tempfile::tempdir().unwrap() };
        files.allow(files.dir.path(), 0o755);
        files
    }

    fn allow(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, contents).unwrap();
        self.allow(&path, 0o644);
        path
    }
}

const ACL: &str = "system.posix_acl_access";

/// Gives a file an access control list (acl(5)) by which its owner may do everything, and a user, the
/// mask and everybody else what these bits say.
fn set_acl(path: &Path, uid: u32, [user, mask, others]: [u16; 3]) {
    const NOBODY: u32 = u32::MAX;
    let entries =
        [(1, 7, NOBODY), (2, user, uid), (4, 0, NOBODY), (16, mask, NOBODY), (32, others, NOBODY)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(u16::to_le_bytes(permissions));
        bytes.extend(u32::to_le_bytes(id));
    }
    setxattr(path, ACL, &bytes, XattrFlags::empty()).unwrap();
}

/// A file in which one text of the same length stands for another.
fn replaced(file: &[u8], old: &[u8; 11], new: &[u8; 11]) -> Vec<u8> {
    let at = file.windows(old.len()).position(|part| part == old).expect("it is for glibc");
    [&file[..at], new, &file[at + old.len()..]].concat()
}

on_every_broker! {
    fn what_is_a_mistake_stops_the_broker(version) {
        let block = || plugin() + VALID;
        for (text, expected) in [
            ("plugin /x/other.so\n".into(), "no line loads libmosquitto_http_auth.so; plugins there are"),
            (format!("plugin_opt_cache_ttl 1\n{}", block()), "before any plugin line"),
            (format!("{}plugin_opt_cache_ttl\n", block()), "option cache_ttl: the value is missing"),
            (
                format!("{}plugin_opt_http_header_X\ts3cret\n", block()),
                "option http_header_X: the value is missing; a blank, not a tab, ends the name",
            ),
            (format!("{}plugin_opt_ab 1\n", block()), "fewer than 3 characters"),
            (format!("allow_anonymous maybe\n{}", block()), "allowed: true, false"),
            (format!("plugin\n{}", block()), "the path of the plugin is missing"),
            (format!("include_dir /does/not/exist\n{}", block()), "include_dir: cannot read"),
            (format!("plugin_use x\n{}", block()), "plugin_use: it belongs under a listener"),
            (
                format!("{}{VALID}listener 1\nplugin_use x\nplugin_use x\n", load()),
                "plugin_use x stands twice under a listener",
            ),
            (format!("listener 1\nplugin_use x\n{}", block()), "no plugin_load x before"),
            (format!("{}{VALID}listener 1\n", load()), "no listener has a plugin_use x"),
            (format!("  # words\n{}", block()), "a comment begins with the first character"),
            (format!("\t# words\n{}", block()), "a comment begins with the first character"),
            (format!("port mqtt\n{}", block()), "port: \"mqtt\" is not allowed"),
            (format!("listener mqtt\n{}", block()), "listener: \"mqtt\" is not allowed"),
            (format!("listener 0\n{}", block()), "a listener with port 0 needs the path of a socket"),
            (format!("plugin /x/libmosquitto_http_auth.so\n{VALID}"), "No such file"),
            (format!("{}plugin /etc/passwd\n", block()), "it is no shared library"),
            (format!("plugin /x/first.so\n{}", block()), "No such file"),
            (format!("acl_file /does/not/exist\n{}", block()), "there is no such file"),
            (format!("password_file /does/not/exist\n{}", block()), "there is no such file"),
        ] {
            expect_of(version, &text, true, expected, Everywhere);
        }
        for name in ["password_file", "acl_file"] {
            let text = format!("{name} /dev/null\n{}", block());
            let expected = "it is no file, and only Mosquitto 2.0.11 starts with it";
            expect_of(version, &text, true, expected, ByAllBut2_0_11);
        }
        let twice = block() + &block();
        expect_of(version, &twice, true, "Mosquitto before 2.1 does not start", By2_0);
        expect_of(version, "", true, "no line loads libmosquitto_http_auth.so, nor any", Nowhere);
    }

    fn a_library_for_another_c_library_or_machine_stops_the_broker(version) {
        let ours = fs::read(plugin_path()).unwrap();
        let for_musl = replaced(&ours, b"\0libc.so.6\0", b"\0libc.so\0\0\0");
        let by_alpine = replaced(&ours, b"\0libc.so.6\0", b"\0ld-musl-x\0");
        let mut for_another = ours.clone();
        for_another[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        let files = Files::new();
        let of_musl = "it is for musl, and the C library of this machine is glibc";
        for (name, library, expected) in [
            ("musl.so", for_musl, of_musl),
            ("alpine.so", by_alpine, of_musl),
            ("another.so", for_another, "and this machine is "),
        ] {
            let path = files.file(name, library);
            let text = format!("plugin {}\n{}{VALID}", path.display(), plugin());
            expect_of(version, &text, true, expected, Everywhere);
        }
    }

    fn what_stops_one_version_is_a_warning_that_names_it(version) {
        let block = || plugin() + VALID;
        let scoped = |line: &str| {
            format!("per_listener_settings true\n{line}\nlistener 1\n{}", block())
        };
        let files = Files::new();
        files.file("a.conf", "include_dir /does/not/exist\n");
        let folder = files.dir.path().display().to_string();
        let empty = files.file("empty", "").display().to_string();
        for (text, expected, refused) in [
            (scoped("allow_anonymous false"), "allow_anonymous stands before the first", By2_1),
            (scoped(&format!("password_file {empty}")), "password_file stands before the first", By2_1),
            (scoped(&format!("acl_file {empty}")), "acl_file stands before the first", By2_1),
            (scoped("auto_id_prefix x"), "auto_id_prefix stands before the first", By2_1),
            (scoped(&block()), "plugin stands before the first", By2_1),
            (
                format!("acl_file {empty}\nacl_file {empty}\n{}", block()),
                "as well, and then Mosquitto 2.0",
                By2_0,
            ),
            (format!("include_dir {folder}\n{}", block()), "Mosquitto 2.0 passes over it", By2_1),
            (plugin().replace('\n', " \n") + VALID, "blanks around the path", By2_1),
            (format!("alow_anonymous false\n{}", block()), "is allow_anonymous meant?", Everywhere),
            (format!("global_{}", block()), "Mosquitto 2.0 does not know global_plugin", By2_0),
            (
                format!("{}{VALID}listener 1\nplugin_use x\n", load()),
                "Mosquitto 2.0 does not know plugin_load",
                By2_0,
            ),
            (
                format!("listener 1\nlistener_allow_anonymous true\n{}", block()),
                "Mosquitto 2.0 does not know listener_allow_anonymous",
                By2_0,
            ),
            (
                format!("listener 1\nenable_proxy_protocol 2\n{}", block()),
                "Mosquitto 2.0 does not know enable_proxy_protocol",
                By2_0,
            ),
            (format!("global_{}{}", block(), block()), "loaded for the same listeners", By2_0),
        ] {
            expect_of(version, &text, false, expected, refused);
        }
    }

    fn a_path_that_is_no_full_one_is_not_looked_for_beside_the_configuration(version) {
        // What the tests are started beside, and the broker is not.
        let beside = "Cargo.toml";
        assert!(Path::new(beside).is_file());
        let relative = format!(
            "{}{VALID}plugin_opt_local_users_file {beside}\n",
            plugin()
        );
        let hint = "counts from the folder that the broker is started in";
        expect_of(version, &relative, false, hint, Everywhere);
        let bare = format!("plugin libmosquitto_http_auth.so\n{VALID}");
        expect_of(version, &bare, false, "it is looked for where libraries are", Everywhere);
    }

    fn what_the_brokers_user_cannot_read_stops_it(version) {
        let files = Files::new();
        let library = files.file("libmosquitto_http_auth.so", fs::read(plugin_path()).unwrap());
        let (key, acl) = (files.file("key", "s3cret"), files.file("acl", "topic readwrite a\n"));
        let (users, local) = (files.file("users", ""), files.file("local", ""));
        let secret = files.file("secret", "0123456789abcdef0123456789abcdef\n");
        let (redis, certs) = (files.file("redis", "password\n"), Certs::new());
        let authority = files.file("authority", fs::read(certs.ca_file()).unwrap());
        let text = format!(
            "user nobody\nlog_dest stderr\nacl_file {}\npassword_file {}\nplugin {}\n{VALID}\
             plugin_opt_http_header_X-Key @{}\nplugin_opt_local_users_file {}\n\
             plugin_opt_fleet_redis 127.0.0.1:{}\nplugin_opt_fleet_secret @{}\n\
             plugin_opt_fleet_redis_password @{}\nplugin_opt_fleet_redis_tls true\n\
             plugin_opt_fleet_redis_tls_ca_file {}\n",
            acl.display(), users.display(), library.display(), key.display(), local.display(),
            refused_port(), secret.display(), redis.display(), authority.display()
        );
        let conf = files.file("mosquitto.conf", text);
        let conf = Conf::at(files.dir, &conf);
        // Without its rights a broker stays who it is.
        let allow = |path: &Path, mode: u32| {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let started = Alone::start(version, &conf.path()).map(drop);
        assert_eq!((conf.run("check", &[], "").status, started), (0, Ok(())));
        for path in [&library, &key, &acl, &users, &local, &secret, &redis, &authority] {
            allow(path, 0o600);
            let expected = format!("{}: the user nobody may not read it", path.display());
            let refused = if is_root() { Everywhere } else { Nowhere };
            expect(version, &conf, is_root(), &expected, refused);
            allow(path, 0o644);
        }
    }

    fn access_control_lists_decide_what_the_brokers_user_can_read(version) {
        let files = Files::new();
        let folder = files.dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let file = files.file("folder/acl", "topic readwrite a\n");
        let library = files.file("libmosquitto_http_auth.so", fs::read(plugin_path()).unwrap());
        let text = format!(
            "user nobody\nlog_dest stderr\nacl_file {}\nplugin {}\n{VALID}",
            file.display(), library.display()
        );
        let conf = files.file("mosquitto.conf", text);
        let conf = Conf::at(files.dir, &conf);
        let (_, nobody) = users().into_iter().find(|(name, _)| name == "nobody").unwrap();
        let (read, search) = (4, 1);
        let cannot_look = format!("may not look into {}", folder.display());
        for (path, permissions, obstacle) in [
            (&file, [read, read, 0], None),
            (&file, [read, 0, 0], Some("may not read it")),
            (&file, [0, read, read], Some("may not read it")),
            (&folder, [search, search, 0], None),
            (&folder, [read, search, search], Some(&*cannot_look)),
        ] {
            fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
            set_acl(path, nobody, permissions);
            // A broker that somebody else starts stays who it is.
            let obstacle = obstacle.filter(|_| is_root());
            let refused = if obstacle.is_some() { Everywhere } else { Nowhere };
            expect(version, &conf, obstacle.is_some(), obstacle.unwrap_or_default(), refused);
            removexattr(path, ACL).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        }
    }
}
