//! How many checks a second do rules allow? The measuring is in `benches/rules.rs`.

use crate::args::{Args, Scenario};
use crate::program;
use crate::report::Section;

pub fn run(args: &Args) -> Section {
    let mut section = Section::new("Checks decided by rules", Scenario::Rules, args);
    section.text(
        "The time of one check, and the number of checks in a second, on one thread and without a \
         broker: the median of several rounds. *growth*: from 1 rule to the most. In the last case \
         every rule has a level with a placeholder in the same place, and the plugin tries them \
         one by one; it refuses an answer with more than 1,000 of these.",
    );
    section.text(program::bench("rules", args.size(&[], &["--quick"])).trim_end());
    section.text("`cargo bench --bench rules`");
    section
}
