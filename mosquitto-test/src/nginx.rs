//! nginx, as Debian ships it, in front of the API: a TLS server that nobody here has written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Program, free_port, repository};
use crate::tls::Identity;

/// What nginx says once its ports are open.
const READY: &str = "using the \"epoll\" event method";

/// What nginx is to be started with.
pub struct NginxConfig {
    api: u16,
    servers: Vec<String>,
}

/// A running nginx; it ends when it goes out of scope.
pub struct Nginx {
    program: Program,
    _dir: TempDir,
}

impl Nginx {
    /// To stand in front of the API on this port.
    pub fn before(api: u16) -> NginxConfig {
        NginxConfig { api, servers: Vec::new() }
    }

    pub fn port(&self) -> u16 {
        self.program.port()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.log()
    }
}

impl NginxConfig {
    /// Serves TLS with this certificate, and with more directives of a `server` block. Of several
    /// servers the first answers whom no other one's `server_name` fits.
    pub fn server(mut self, identity: &Identity, directives: &str) -> Self {
        self.servers.push(format!(
            "ssl_certificate {}; ssl_certificate_key {}; {directives}",
            identity.cert.display(),
            identity.key.display()
        ));
        self
    }

    pub fn start(self) -> Nginx {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::write(dir.path().join("nginx.conf"), self.render(port)).unwrap();
        let mut command = Command::new(binary());
        // The prefix, without which it looks for the system's files; and where it logs until it
        // has read its configuration.
        command.arg("-p").arg(dir.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        Nginx { program: Program::start(command, port, READY), _dir: dir }
    }

    fn render(&self, port: u16) -> String {
        let api = self.api;
        let server = |server: &String| {
            format!(
                "  server {{\n    listen 127.0.0.1:{port} ssl;\n    {server}\n    \
                 location / {{ proxy_pass http://127.0.0.1:{api}; }}\n  }}\n"
            )
        };
        let servers: String = self.servers.iter().map(server).collect();
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("  {what}_temp_path {what};\n"))
            .concat();
        format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr info;\n\
             events {{ worker_connections 256; }}\nhttp {{\n  access_log off;\n{folders}  \
             proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  \
             proxy_set_header Host $http_host;\n{servers}}}\n"
        )
    }
}

/// The program that `install.sh` has unpacked, or the one that is installed.
pub fn binary() -> PathBuf {
    let unpacked = repository(".nginx/usr/sbin/nginx");
    if unpacked.exists() {
        return unpacked;
    }
    let installed = Path::new("/usr/sbin/nginx");
    assert!(installed.exists(), "nginx is missing: run mosquitto-test/install.sh once");
    installed.to_owned()
}
