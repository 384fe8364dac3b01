//! Time slices: how long a call may go on, so that no scheduler is held for over a millisecond.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustler::Env;

use crate::beam::call::consume_timeslice;

/// How long a call works before it returns and asks to be called again.
const LENGTH: Duration = Duration::from_micros(200);

/// A process that has worked here for so long has used up its time slice. The VM would allow a millisecond; but what the
/// caller does with long results, collecting garbage above all, takes as long again.
const TIMESLICE: Duration = Duration::from_micros(500);

/// The clock is looked at once in so many steps.
const STEPS: usize = 8;

/// What a step of a call that is too short to be timed is taken to last: less than a look-up that waits for memory, and more than one
/// that does not.
const STEP: Duration = Duration::from_nanos(500);

/// So many of them are a hundredth of a time slice.
const STEPS_PER_PERCENT: u32 = (TIMESLICE.as_nanos() / 100 / STEP.as_nanos()) as u32;

thread_local! {
    /// Steps on this scheduler of which the VM has not been told.
    static UNTOLD: Cell<u32> = const { Cell::new(0) };
}

/// Tells the VM of the steps of short calls. It would take each call for one reduction, as if it were over in a quarter of a
/// microsecond, and a process that does nothing else would keep its scheduler for several milliseconds.
#[inline]
pub fn count_steps(env: Env<'_>, steps: u32) {
    let untold = UNTOLD.get() + steps;
    UNTOLD.set(untold % STEPS_PER_PERCENT);
    if untold >= STEPS_PER_PERCENT {
        consume_timeslice(env, untold / STEPS_PER_PERCENT);
    }
}

/// The time of a call. At its end the VM is told what the call has used.
pub struct Slice<'a> {
    env: Env<'a>,
    begin: Instant,
}

impl<'a> Slice<'a> {
    /// Starts now.
    pub fn begin(env: Env<'a>) -> Self {
        Slice { env, begin: Instant::now() }
    }

    /// Whether it is time to return, for a call that counts its steps.
    #[inline]
    pub fn is_over(&self, step: usize) -> bool {
        step.is_multiple_of(STEPS) && self.begin.elapsed() >= LENGTH
    }
}

impl Drop for Slice<'_> {
    fn drop(&mut self) {
        let percent = self.begin.elapsed().as_nanos() * 100 / TIMESLICE.as_nanos();
        consume_timeslice(self.env, u32::try_from(percent).unwrap_or(100));
    }
}
