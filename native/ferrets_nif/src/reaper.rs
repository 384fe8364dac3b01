//! The reaper: a thread that frees arenas and dropped tables, and makes shells ahead of need, so that no scheduler has to.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{unbounded, RecvTimeoutError, Sender};

use crate::epoch::{self, Limbo};
use crate::os::{pin_library, stay_in_background};

/// With so much waiting, who retires an arena frees it himself: memory must not pile up. The pages that a lost server's rows
/// leave empty, of a table of some million records, find room.
const QUEUE_MAX: usize = 16 * 1024;

/// What readers may have seen is freed so many at a time.
const RETIRED_MAX: usize = 64;

/// With nothing else to do, the reaper frees what readers may have seen after so long.
const IDLE: Duration = Duration::from_millis(50);

enum Job {
    Drop(Box<dyn Send>),
    DropUnseen(Box<dyn Send>),
    Run(fn()),
}

static QUEUE: OnceLock<Option<Sender<Job>>> = OnceLock::new();

/// Starts the thread, unless it runs. It runs as long as the VM does. Returns whether it could be started.
pub fn start() -> bool {
    let queue = QUEUE.get_or_init(|| {
        pin_library();
        let (sender, receiver) = unbounded::<Job>();
        let reap = move || {
            stay_in_background();
            let mut limbo: Limbo<Box<dyn Send>> = Limbo::new(RETIRED_MAX);
            loop {
                let job = match receiver.recv_timeout(IDLE) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        limbo.free();
                        // Nothing is left to look after: sleep until there is something to do.
                        let Some(job) = limbo.is_empty().then(|| receiver.recv()) else { continue };
                        let Ok(job) = job else { break };
                        job
                    }
                };
                // Should taking a table apart fail, its memory is lost, not the VM.
                let _ = catch_unwind(AssertUnwindSafe(|| match job {
                    Job::Drop(retired) => drop(retired),
                    Job::DropUnseen(retired) => limbo.retire(retired),
                    Job::Run(job) => job(),
                }));
            }
        };
        thread::Builder::new().name("ferrets_reaper".into()).spawn(reap).ok().map(|_| sender)
    });
    queue.is_some()
}

/// Has something small dropped by the reaper, unless it is far behind.
pub fn retire(retired: Box<dyn Send>) {
    if QUEUE.get().and_then(Option::as_ref).is_some_and(|queue| queue.len() < QUEUE_MAX) {
        hand_over(retired);
    }
}

/// Likewise something that has been taken out of the readers' reach, when nobody sees it any more.
pub fn retire_seen(retired: Box<dyn Send>) {
    match QUEUE.get().and_then(Option::as_ref) {
        Some(queue) if queue.len() < QUEUE_MAX => {
            let _ = queue.send(Job::DropUnseen(retired));
        }
        _ => {
            epoch::wait_for_readers();
            drop(retired);
        }
    }
}

/// Has something dropped by the reaper that would take long.
pub fn hand_over(retired: Box<dyn Send>) {
    if let Some(Some(queue)) = QUEUE.get() {
        let _ = queue.send(Job::Drop(retired));
    }
}

/// Has something done by the reaper.
pub fn run(job: fn()) {
    if let Some(Some(queue)) = QUEUE.get() {
        let _ = queue.send(Job::Run(job));
    }
}
