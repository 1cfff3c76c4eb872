//! All clients of a soak: those that stay, those that only look in, and those that mean harm.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::client::Stayer;
use super::crowd::{Crowd, LIMIT};
use super::hostile::Attack;
use super::policy;
use super::wire::Wire;
use crate::mqtt::Protocol;

/// Clients that look in at the same time.
const VISITORS: usize = 20;

/// Everyone comes, and stays until the end.
pub async fn live(crowd: Rc<Crowd>, mut stopping: watch::Receiver<bool>) {
    let mut tasks: Vec<_> = (0..crowd.plan.clients)
        .map(|number| spawn_local(Stayer::new(crowd.clone(), number).live(stopping.clone())))
        .collect();
    for number in 0..VISITORS {
        tasks.push(spawn_local(visit(crowd.clone(), number, stopping.clone())));
    }
    for attack in Attack::ALL {
        tasks.push(spawn_local(attack.go_on(crowd.clone(), stopping.clone())));
    }
    const LOOK: Duration = Duration::from_secs(1);
    let mut began = Instant::now();
    while timeout(LOOK, stopping.wait_for(|stop| *stop)).await.is_err() {
        crowd.model.late(began.elapsed().saturating_sub(LOOK));
        began = Instant::now();
        crowd.settle(LIMIT);
    }
    for task in tasks {
        task.await.expect("no client panics");
    }
    crowd.settle(Duration::ZERO);
}

/// Looks in, again and again, under many names.
async fn visit(crowd: Rc<Crowd>, number: usize, mut stopping: watch::Receiver<bool>) {
    let mut count = 0_u64;
    while !*stopping.borrow() {
        let pause = Duration::from_secs_f64(VISITORS as f64 / (crowd.plan.rate * 0.2));
        if !crowd.is_everyone_in() {
            // So that all come in as fast as they can.
            let _ = timeout(Duration::from_millis(100), stopping.changed()).await;
            continue;
        }
        count += 1;
        let protocol = Protocol::BOTH[fastrand::usize(..2)];
        let id = format!("visitor-{number}");
        let user = fastrand::usize(..crowd.plan.clients);
        match fastrand::u8(..5) {
            0 => {
                let (name, password) = (policy::username(user), policy::password(user));
                crowd.log_in(&id, &name, &password, protocol).await;
            }
            1 => {
                crowd.log_in(&id, &policy::username(user), "wrong", protocol).await;
            }
            // A name that nobody bore before.
            2 => {
                crowd.log_in(&id, &format!("stranger-{number}-{count}"), "x", protocol).await;
            }
            3 => {
                let name = format!("{}-{}", policy::GUEST, number);
                crowd.log_in(&id, &name, "x", protocol).await;
            }
            // Is gone before it has an answer. Mosquitto 2.1 lets nobody else in by the same
            // identifier until then.
            _ => {
                let id = format!("leaver-{number}-{count}");
                if let Ok(mut wire) = Wire::open(crowd.port, protocol).await {
                    wire.connect(&id, &policy::username(user), "wrong").await;
                }
            }
        }
        sleep(pause).await;
    }
}
