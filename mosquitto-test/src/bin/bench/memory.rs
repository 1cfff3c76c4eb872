//! What do cached decisions and sessions take? The measuring is in `benches/memory.rs`.

use crate::args::{Args, Scenario};
use crate::program;
use crate::report::Section;

pub fn run(args: &Args) -> Section {
    let mut section = Section::new("Memory", Scenario::Memory, args);
    section.text(
        "What the plugin's own types take when they are filled, each time in a new process. \
         *resident*: what the kernel gives to the process; *handed out by malloc*: with its own \
         rounding. Names have 13 characters. A cache that is overfilled gets one answer for each \
         64 bytes of its limit, which is more than it can hold.",
    );
    section.text(program::bench("memory", args.size(&[], &["--quick"])).trim_end());
    section.text("`cargo bench --bench memory`");
    section
}
