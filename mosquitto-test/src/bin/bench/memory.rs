//! What do cached decisions and sessions take? The measuring is in `benches/memory.rs`.

use crate::args::{Args, Scenario};
use crate::program;
use crate::report::Section;

pub fn run(args: &Args) -> Section {
    let mut section = Section::new("Memory", Scenario::Memory, args);
    section.text(
        "The memory that the plugin's own types take when they are full, each time in a new \
         process. *resident*: what the kernel gives to the process; *handed out by malloc*: with \
         its own rounding. Names have 13 characters. The benchmark overfills a cache with one \
         answer for each 64 bytes of its limit.",
    );
    section.text(program::bench("memory", args.size(&[], &["--quick"])).trim_end());
    section.text("`cargo bench --bench memory`");
    section
}
