//! A broker with a configuration word for word, in a network of its own, so that it may open port 1883.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use mosquitto_test::prelude::*;
use mosquitto_test::watch::patience;

/// It runs until it goes out of scope.
pub struct Alone {
    version: Version,
    child: Child,
}

impl Alone {
    /// Starts it in the folder of this mosquitto.conf; what it said, if it does not start.
    pub fn start(version: Version, conf: &Path) -> Result<Alone, String> {
        let mut command = Command::new(version.bin("mosquitto"));
        command.arg("-c").arg(conf).current_dir(conf.parent().unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: it makes system calls and allocates nothing.
        unsafe { command.pre_exec(enter_new_network) };
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let broker = Alone { version, child };
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let mut log = String::new();
            for line in &mut lines {
                log += &(line.unwrap_or_default() + "\n");
                if log.ends_with(" running\n") {
                    let _ = send.send(Ok(()));
                    // Or its next line ends it.
                    return lines.for_each(drop);
                }
            }
            let _ = send.send(Err(log));
        });
        match receive.recv_timeout(patience()).expect("it starts or ends") {
            Ok(()) => Ok(broker),
            Err(log) => Err(log),
        }
    }

    /// The addresses that it listens on for IPv4, as `127.0.0.1:1883`.
    pub fn listens(&self) -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id())).unwrap();
        let listening = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (address, port) = words[1].split_once(':')?;
            let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
            let port = u16::from_str_radix(port, 16).ok()?;
            (words[3] == "0A").then(|| format!("{}:{port}", std::net::Ipv4Addr::from(address)))
        };
        table.lines().filter_map(listening).collect()
    }

    /// Whether a client without a username is let in, on this port of the loopback interface.
    pub fn lets_strangers_in(&self, port: &str) -> bool {
        let namespace = |name| File::open(format!("/proc/{}/ns/{name}", self.child.id())).unwrap();
        let (user, network) = (namespace("user"), namespace("net"));
        let mut command = Command::new(self.version.bin("mosquitto_pub"));
        command.args(["-h", "127.0.0.1", "-p", port, "-t", "a", "-n", "-q", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let enter = move || {
            // SAFETY: these take file descriptors that are open. Only a stranger to the broker's
            // network has to become somebody in its user namespace first.
            unsafe {
                if libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
                    libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER);
                    checked(libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET))?;
                }
            }
            Ok(())
        };
        // SAFETY: it makes system calls and allocates nothing.
        unsafe { command.pre_exec(enter) };
        command.status().unwrap().success()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Moves this process into a network where only the loopback interface is, and switches it on.
fn enter_new_network() -> io::Result<()> {
    // SAFETY: the calls take plain integers, and a structure that lives until they return. Whoever is
    // not root may have a network in a user namespace.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            checked(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))?;
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        checked(socket)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        (request.ifr_name[0], request.ifr_name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        checked(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request))?;
        checked(libc::close(socket))
    }
}
