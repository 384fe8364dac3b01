//! The hybrid logical clock. Reads no time itself: whoever calls brings the wall clock's milliseconds.

/// Low bits of a reading that count events within one millisecond.
const COUNTER_BITS: u32 = 16;

/// A clock that never goes back, and is never behind a reading it has been shown.
#[derive(Debug, Default)]
pub struct Clock {
    last: u64,
}

impl Clock {
    /// A reading greater than every one given out or observed before: the wall clock's, if it is ahead of them.
    pub fn tick(&mut self, now_ms: u64) -> u64 {
        // A clock that was shown u64::MAX cannot go on rising; it takes 8,900 years of honest milliseconds to get there.
        self.last = self.last.saturating_add(1).max(now_ms << COUNTER_BITS);
        self.last
    }

    /// Takes note of another server's reading.
    pub fn observe(&mut self, reading: u64) {
        self.last = self.last.max(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_rise_when_the_wall_clock_stands_or_goes_back() {
        let mut clock = Clock::default();
        let first = clock.tick(1_000);
        let second = clock.tick(1_000);
        let third = clock.tick(10);
        assert!(first < second && second < third);
        assert_eq!(first >> COUNTER_BITS, 1_000);
    }

    #[test]
    fn a_reading_after_an_observed_one_is_greater() {
        let mut clock = Clock::default();
        clock.observe(5_000 << COUNTER_BITS);
        assert!(clock.tick(1) > 5_000 << COUNTER_BITS);
    }
}
