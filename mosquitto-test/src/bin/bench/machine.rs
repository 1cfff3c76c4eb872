//! What the numbers were taken on.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and the brokers that it starts, open as many files as they may: every client
/// is one file here and one there.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        eprintln!("bench: the limit of open files stays at {:?}", limit.current);
    }
}

/// In a few words of Markdown.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or("an unknown CPU".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores ({model}), {:.1} GiB of memory, Linux {}",
        kib as f64 / 1024.0 / 1024.0,
        kernel.trim()
    )
}

/// How long a process's main thread has run so far.
pub fn main_thread_ran(pid: u32) -> Duration {
    let stat = read(&format!("/proc/{pid}/task/{pid}/schedstat"));
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the process runs"))
}

/// How much of the machine's memory a process has.
pub fn resident_bytes(pid: u32) -> u64 {
    let resident = field(&format!("/proc/{pid}/status"), "VmRSS").expect("the process runs");
    resident.trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// How much processor time this process's children took that have ended: `cutime` and `cstime`.
pub fn children_ran() -> Duration {
    let stat = read("/proc/self/stat");
    // The program's name, in brackets, may hold blanks; these are fields 16 and 17.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// How busy the machine was in the last minute.
pub fn load() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = read(file);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
