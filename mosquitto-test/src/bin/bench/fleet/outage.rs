//! A storm of logins that nobody knows, while Redis is well, empty, frozen or gone.

use std::time::Duration;

use mosquitto_test::broker::Version;

use super::{Ground, clients};
use crate::args::Args;
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stats::{millis, percentile, seconds};

/// How Redis is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// There is no fleet.
    Alone,
    Empty,
    Frozen,
    Killed,
}

impl Way {
    const ALL: [Way; 4] = [Way::Alone, Way::Empty, Way::Frozen, Way::Killed];

    fn name(self) -> &'static str {
        match self {
            Way::Alone => "no fleet",
            Way::Empty => "nothing in Redis yet",
            Way::Frozen => "Redis frozen",
            Way::Killed => "Redis killed",
        }
    }

    /// How much longer a storm may take than without a fleet.
    fn goal(self) -> f64 {
        if self == Way::Empty { 1.03 } else { 1.05 }
    }
}

pub fn run(args: &Args, section: &mut Section) {
    let (count, rounds) = args.size((3000, 5), (100, 1));
    section.text(format!(
        "**When Redis is of no use.** {count} clients that nobody knows log in at a broker; Redis is frozen or killed \
         as the first of them comes. In turn, {rounds} times each; medians of how long it takes until all are in, and of \
         the p99 and the longest of a single login."
    ));
    let mut table =
        Table::new("broker | Redis | all in after | × no fleet | login p99 | longest | goal");
    for version in &args.versions {
        let mut outcomes: [Vec<[Duration; 3]>; 4] = Default::default();
        for _ in 0..rounds {
            for (way, outcomes) in Way::ALL.into_iter().zip(&mut outcomes) {
                outcomes.push(storm(*version, way, count));
            }
        }
        let medians = outcomes.map(|outcomes| {
            [0, 1, 2].map(|which| {
                let mut values: Vec<_> = outcomes.iter().map(|one| one[which]).collect();
                values.sort();
                percentile(&values, 50.0)
            })
        });
        for (way, [took, p99, longest]) in Way::ALL.into_iter().zip(medians) {
            let ratio = took.div_duration_f64(medians[0][0]);
            clock::say(&format!("{} {}: {ratio:.3}", version.name(), way.name()));
            let judged = match way {
                Way::Alone => String::new(),
                way => goal(ratio <= way.goal(), &format!("≤ {} ×", way.goal())),
            };
            table.row([
                version.name().to_owned(),
                way.name().to_owned(),
                seconds(took),
                format!("{ratio:.3}"),
                millis(p99),
                millis(longest),
                judged,
            ]);
        }
    }
    section.table(table);
}

/// How long it takes, and the p99 and the longest of a login.
fn storm(version: Version, way: Way, count: usize) -> [Duration; 3] {
    let mut ground = Ground::new(version);
    let broker = match way {
        Way::Alone => setup::broker(version, Mode::Ours, &ground.api, &[]),
        _ => ground.broker("b0", &[]),
    };
    match way {
        Way::Frozen => ground.redis.freeze(),
        Way::Killed => ground.redis.kill(),
        Way::Alone | Way::Empty => {}
    }
    let crowd = Crowd::log_in(broker.port(), clients(0..count), Pace::Rush);
    // It cannot end while it is stopped.
    if way == Way::Frozen {
        ground.redis.thaw();
    }
    [crowd.took(), percentile(&crowd.waits, 99.0), percentile(&crowd.waits, 100.0)]
}
